"""Decisions: one module per kind of input or behaviour."""
