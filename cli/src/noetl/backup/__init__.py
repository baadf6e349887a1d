"""Backups of an installation's databases, and their restore."""
