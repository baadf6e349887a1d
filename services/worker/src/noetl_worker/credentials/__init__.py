"""Credentials that playbooks name by alias."""
