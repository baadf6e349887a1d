"""Diagnosis of a system: checks of its edge, its broker, its databases and services."""
