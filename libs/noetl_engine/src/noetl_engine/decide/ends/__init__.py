"""How executions end, and what their end starts."""
