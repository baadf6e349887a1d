"""Answers of the catalog: playbooks, versions of plug-ins, triggers, pauses."""
