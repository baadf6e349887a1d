"""Bodies of executions: their start, state, events, results and variables."""
