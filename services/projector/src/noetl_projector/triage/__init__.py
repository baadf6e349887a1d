"""Reads for operators: failures by group, and the open work of an execution."""
