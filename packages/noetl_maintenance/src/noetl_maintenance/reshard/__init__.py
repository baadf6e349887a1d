"""Doubles the shards of an installation that stands still."""
