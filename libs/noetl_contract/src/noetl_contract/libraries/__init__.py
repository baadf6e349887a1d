"""Libraries of steps: what a step asks for, and the lock that this was resolved to."""
