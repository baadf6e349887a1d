"""Parts of every process and command: errors, ids, settings, logs, metrics, traces, keys.

It has no client of a broker or a database, and no server.
"""
