"""The program of a warm interpreter, with the standard library only.

Started by :mod:`noetl_worker.interpreters.interpreter` under the package name ``host``, outside
of our environment; hence the relative imports and the care for older Python versions.
"""
