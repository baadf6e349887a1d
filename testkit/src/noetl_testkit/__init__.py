"""Pytest plugin: real NATS and PostgreSQL, factories, fakes."""
