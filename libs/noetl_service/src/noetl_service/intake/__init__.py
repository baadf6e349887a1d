"""Limits of an HTTP port before a request is complete: bytes, time, connections."""
