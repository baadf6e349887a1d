"""The lifecycle of a service: its settings, port, machine id, loops, readiness and end."""
