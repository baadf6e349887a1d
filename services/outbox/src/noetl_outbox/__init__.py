"""The outbox relay, which publishes committed rows."""
