"""Log lines of one execution."""
