"""The duckdb and ducklake tools."""
