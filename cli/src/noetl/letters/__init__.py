"""What was given up: dead letters of the broker, and parked rows of the outbox."""
