"""Secrets that playbooks name, resolved and cached."""
