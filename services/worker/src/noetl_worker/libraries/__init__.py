"""Environments of libraries, one for each lock, and the interpreters that have them."""
