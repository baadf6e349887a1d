"""Waits: times, forms of their signals, and links."""
