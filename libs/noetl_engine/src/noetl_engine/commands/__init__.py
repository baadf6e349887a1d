"""Commands: rendered work for a worker."""

from noetl_engine.commands.build import (
    BuiltCommand,
    LoopElement,
    build_claim,
    build_command,
    pool_of,
)

__all__ = ["BuiltCommand", "LoopElement", "build_claim", "build_command", "pool_of"]
