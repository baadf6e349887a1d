"""Who calls, what he may do, and the record of it."""
