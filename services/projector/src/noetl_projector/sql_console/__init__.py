"""The SQL console: clients' statements, with limits, on separate connections."""
