"""Starts that ends of other executions cause."""

# size: the modules of a turn are about its inputs; what ends of executions start is beside them
