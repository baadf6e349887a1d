"""Playbooks, worker runtimes and other cluster-wide things."""
