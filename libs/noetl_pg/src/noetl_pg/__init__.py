"""PostgreSQL: pools, transactions, statements, errors, logins."""
