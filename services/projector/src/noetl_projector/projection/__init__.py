"""The read model: a row for each execution and the counters, moved along behind the logs."""
