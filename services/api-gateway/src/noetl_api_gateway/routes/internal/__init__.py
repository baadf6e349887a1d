"""Routes guarded by the internal token."""
