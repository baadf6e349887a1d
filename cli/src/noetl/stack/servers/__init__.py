"""NATS and PostgreSQL: their programs, databases, streams and schema."""
