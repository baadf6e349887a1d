"""Fixtures of the tests; modules beside this one and of the worker's tests are imported by name."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from noetl_worker.interpreters.nursery import InterpreterLimits
from noetl_worker.interpreters.pool import InterpreterPool, Keeping, interpreter_pool

_HERE = Path(__file__).resolve()
_TOP = next(folder for folder in _HERE.parents if (folder / "Makefile").exists())
sys.path[:0] = [str(_HERE.parent), str(_TOP / "services" / "worker" / "tests")]

LIMITS = InterpreterLimits(
    memory_bytes=512 << 20, file_bytes=8 << 20, output_bytes=64 << 10, result_bytes=4 << 20
)


@pytest.fixture
async def interpreters() -> AsyncIterator[InterpreterPool]:
    keeping = Keeping(most=4, seconds=60)
    async with interpreter_pool(
        executable=None, limits=LIMITS, size=4, warm=0, keeping=keeping
    ) as pool:
        yield pool
