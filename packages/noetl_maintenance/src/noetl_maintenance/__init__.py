"""Commands that not every installation needs: archives of old executions, and more shards."""
