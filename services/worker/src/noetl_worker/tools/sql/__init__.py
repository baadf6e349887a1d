"""Tools that speak SQL."""
