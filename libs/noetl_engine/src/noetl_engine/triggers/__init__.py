"""Documents that start executions from outside: ends of others, deliveries and messages."""
