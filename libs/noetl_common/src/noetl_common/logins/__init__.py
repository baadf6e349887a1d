"""Logins that may change while a process runs."""
