"""For people who look after executions: what failed, and what an execution waits for."""
