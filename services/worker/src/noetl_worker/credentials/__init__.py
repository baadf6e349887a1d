"""Credentials that playbooks name by alias (worker 9)."""
