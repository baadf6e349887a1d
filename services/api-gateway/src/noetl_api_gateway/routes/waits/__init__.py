"""Waits: signals, the list of open waits, and links for people without a login."""
