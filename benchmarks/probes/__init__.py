"""Means of measuring: the machine, load, floors, CPU time, messages on the bus."""
