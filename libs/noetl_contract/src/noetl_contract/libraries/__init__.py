"""Libraries of steps: their requirements, and the lock to which these were resolved."""
