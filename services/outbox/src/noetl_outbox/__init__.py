"""Publish committed rows."""
