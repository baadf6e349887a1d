"""The orchestrator: decides the next steps of executions, and owns log, commands and leases."""
