"""Telemetry of a process: the unit of work in log lines, and spans."""
