"""Commands: rendered work for a worker."""

from noetl_engine.commands.build import build_command

__all__ = ["build_command"]
