"""Schedules: which are in force, their firings, and backfills over the same times."""
