"""What people do about executions that failed or stand still: rerun, restart, ask why."""
