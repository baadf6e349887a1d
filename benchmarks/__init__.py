"""Costs of the system, measured on this machine: ``make bench``, or ``python -m benchmarks``."""
