"""Shared parts of NoETL services: bus, database pool, settings, logging."""

# size: each module is a part of its own of a service; what belongs together has a folder
