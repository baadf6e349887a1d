"""Commands that come with their notifications, and whose runs are reported at once."""
