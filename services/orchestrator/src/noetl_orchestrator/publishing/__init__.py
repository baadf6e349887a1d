"""Publish what a commit holds."""
