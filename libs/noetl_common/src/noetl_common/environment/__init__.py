"""Reads settings of a process from its environment and from files of secrets."""
