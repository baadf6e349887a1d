"""Repair of executions that failed or stand still: rerun, restart, ask why."""
