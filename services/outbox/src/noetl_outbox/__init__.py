"""Publishes what was committed."""
