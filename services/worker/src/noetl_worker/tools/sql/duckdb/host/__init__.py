"""What runs in the processes of DuckDB: nothing here is imported by the worker but its frames."""
