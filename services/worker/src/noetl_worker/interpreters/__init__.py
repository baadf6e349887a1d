"""Warm Python interpreters, apart from the worker."""
