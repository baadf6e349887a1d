"""Plug-ins as executions and workers ask for them."""
