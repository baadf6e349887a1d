"""Descriptions of all calls of the API, from which both clients are built."""
