"""The read model and the ways it is moved forward."""
