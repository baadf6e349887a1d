"""Consumers of streams: pulls, deliveries, permits and dead letters."""
