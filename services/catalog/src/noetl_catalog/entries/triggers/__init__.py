"""Documents of kind Trigger: what ends of executions start."""
