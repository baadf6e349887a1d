"""Reads of open waits: their begin, signal and form."""
