"""Checks of requests before routing: names, origins, sizes and numbers."""
