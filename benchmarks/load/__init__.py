"""Clients that cost little beside the server that they measure."""
