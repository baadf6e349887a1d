"""Stored credentials, also for other regions."""
