"""Schedules, their firings, and backfills."""
