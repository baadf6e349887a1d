"""Commands that ask a server: a running stack, or one elsewhere."""
