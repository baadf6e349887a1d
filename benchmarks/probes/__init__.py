"""What cases measure with: the machine, load, floors, CPU time, what passes on the bus."""
