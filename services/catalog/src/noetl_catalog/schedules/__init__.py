"""Schedules in force, their firings, and backfills."""
