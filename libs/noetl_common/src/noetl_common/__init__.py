"""Parts of every process and command: errors, ids, settings, logs, metrics, traces, keys.

The package has no client of a broker or a database, and no server.
"""
