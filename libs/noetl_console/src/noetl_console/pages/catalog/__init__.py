"""Playbooks: the list, one of them, and the editor."""
