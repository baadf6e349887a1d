"""The store of large results."""
