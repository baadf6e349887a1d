"""PostgreSQL: the pool, named statements, and the translation of the driver's errors."""

# size: each module is one part of the access to a database, found by its name
