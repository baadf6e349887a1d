"""Telemetry of a process: spans, and the unit of work that log lines name."""
