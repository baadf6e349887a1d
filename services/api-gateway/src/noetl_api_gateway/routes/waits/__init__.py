"""Waits: signals, the list of what is open, and links for people without a login."""
