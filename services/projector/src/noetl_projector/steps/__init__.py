"""Reads of the steps of executions: where each is, since when, and how its loop goes."""
