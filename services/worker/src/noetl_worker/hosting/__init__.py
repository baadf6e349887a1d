"""Child processes for code that the worker doesn't trust, or can't interrupt, in itself.

A fork server loads a program once and forks a process of it on request: scripts, queries of DuckDB
and the compiler of plug-ins are such programs. `host` is what runs in them.
"""
