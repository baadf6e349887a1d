"""Routes of executions: starts, termination, reads, results, variables."""
