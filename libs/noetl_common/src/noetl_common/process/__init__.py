"""A process's health, metrics, extensions and protection."""
