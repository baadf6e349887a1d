"""Ends of executions, and the starts that they cause."""
