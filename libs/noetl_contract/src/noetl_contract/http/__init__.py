"""Bodies of the HTTP routes, one module per resource (contract: http-a, http-b)."""
