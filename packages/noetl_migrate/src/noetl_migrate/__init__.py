"""Moving in from NoETL's own server: an import, a comparison, and an edge before both."""
