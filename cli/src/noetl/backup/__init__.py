"""Backups of an installation's databases, and what happens when one is restored."""
