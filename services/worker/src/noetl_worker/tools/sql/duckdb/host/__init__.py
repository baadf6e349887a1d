"""Code of DuckDB's processes: the worker imports nothing of it but the frames."""
