"""Decisions about waits: signals, times and reminders."""
