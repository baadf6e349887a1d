"""Settings of a process from its environment."""
