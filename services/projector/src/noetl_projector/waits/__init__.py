"""Reads of waits: what is open, since when, and what it asks for."""
