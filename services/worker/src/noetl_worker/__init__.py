"""The worker: pull commands, run their tools, report the outcomes."""
