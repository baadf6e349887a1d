"""Decide what happens next; own the log, the commands and the leases."""
