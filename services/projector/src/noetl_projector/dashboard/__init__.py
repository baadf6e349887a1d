"""Numbers for the dashboard, and the tables of the schema."""
