"""The read model: a row for each execution, and counters, which follow the logs."""
