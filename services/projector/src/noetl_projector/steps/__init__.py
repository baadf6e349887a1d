"""Reads of the steps of executions: their states, times and loops."""
