"""Routes behind the internal token."""
