"""The SQL route, on connections of its own."""
