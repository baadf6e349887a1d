"""Consumers of streams: pulls, deliveries, permits, dead letters."""
