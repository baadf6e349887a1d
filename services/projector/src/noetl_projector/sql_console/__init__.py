"""The SQL console: statements of clients, bounded, on connections of their own."""
