"""Variables of executions."""
