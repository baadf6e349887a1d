"""Restarts: a new execution goes on from where another one has ended."""
