"""Failures in events, rows and answers."""
