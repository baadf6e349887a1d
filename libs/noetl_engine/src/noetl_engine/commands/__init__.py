"""Commands: what a step's worker is given, rendered."""

from noetl_engine.commands.build import (
    BuiltCommand,
    LoopElement,
    build_claim,
    build_command,
    pool_of,
)

__all__ = ["BuiltCommand", "LoopElement", "build_claim", "build_command", "pool_of"]
