"""What a process tells of its work: whose it is in logs, and its spans."""
