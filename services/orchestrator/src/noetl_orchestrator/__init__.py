"""Decides what happens next; owns the log, the commands and the leases."""
