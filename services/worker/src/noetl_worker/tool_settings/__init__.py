"""Settings of tools, composed into the worker's by inheritance."""
