"""Credentials, keychains, keys and the audit of their use."""
