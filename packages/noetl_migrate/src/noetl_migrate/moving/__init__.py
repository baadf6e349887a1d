"""Moving in from NoETL's own server: its catalog, secrets and workers are taken over."""
