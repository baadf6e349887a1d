"""Executions kept in memory between turns, and when timers and leases come due."""
