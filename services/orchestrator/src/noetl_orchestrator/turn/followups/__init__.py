"""Starts that ends of other executions cause."""
