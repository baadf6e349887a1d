"""PostgreSQL: the pool, named statements, and the translation of the driver's errors."""
