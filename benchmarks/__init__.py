"""What the system costs, measured on this machine: ``make bench``, or ``python -m benchmarks``."""
