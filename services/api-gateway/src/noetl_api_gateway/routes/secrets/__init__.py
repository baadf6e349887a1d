"""Routes of credentials, keychains, keys and sessions."""
