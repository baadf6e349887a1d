"""Routes of executions: starts, ends, reads, results, variables."""
