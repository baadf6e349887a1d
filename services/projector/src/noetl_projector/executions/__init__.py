"""Reads of executions, their events and their commands."""
