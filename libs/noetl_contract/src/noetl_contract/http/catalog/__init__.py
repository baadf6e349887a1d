"""Bodies of the catalog."""
