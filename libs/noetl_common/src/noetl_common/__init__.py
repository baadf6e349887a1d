"""How NoETL services live: bus, database pool, settings, logging."""
