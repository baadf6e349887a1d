"""Dead letters of the broker, and parked rows of the outbox."""
