"""HTTP in, messages out."""
