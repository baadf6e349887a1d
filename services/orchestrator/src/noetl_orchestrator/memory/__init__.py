"""Keep executions and playbooks in memory between turns."""
