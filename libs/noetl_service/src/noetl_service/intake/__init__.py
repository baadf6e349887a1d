"""Limits of an HTTP port until a request is complete: bytes, time and connections."""
