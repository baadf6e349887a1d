"""A stand-in for NoETL's own server: a process that answers its routes as that one does."""

from noetl_testkit.legacy.process import LegacyProcess, running_legacy

__all__ = ["LegacyProcess", "running_legacy"]
