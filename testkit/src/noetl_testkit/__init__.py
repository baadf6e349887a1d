"""Pytest plugin: real NATS and PostgreSQL, factories, fakes."""

# size: each module gives tests one kind of thing, found by its name
