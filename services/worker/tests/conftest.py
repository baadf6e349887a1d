"""Fixtures of the worker's tests; the modules beside this one are imported by name."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.control_plane.edge import open_edge
from noetl_worker.interpreters.nursery import InterpreterLimits
from noetl_worker.interpreters.pool import InterpreterPool, Keeping, interpreter_pool
from noetl_worker.settings import Settings
from noetl_worker.tools.registry import ToolRegistry, load_tools
from noetl_worker.tools.tool import ToolParts

sys.path.insert(0, str(Path(__file__).parent))

LIMITS = InterpreterLimits(
    memory_bytes=512 << 20,
    file_bytes=8 << 20,
    output_bytes=64 << 10,
    result_bytes=4 << 20,
)

KEEPING = Keeping(most=4, seconds=60)


@pytest.fixture
def interpreter_limits() -> InterpreterLimits:
    return LIMITS


@pytest.fixture
async def interpreters() -> AsyncIterator[InterpreterPool]:
    async with interpreter_pool(
        executable=None, limits=LIMITS, size=4, warm=0, keeping=KEEPING
    ) as pool:
        yield pool


@pytest.fixture
async def toolbox(interpreters: InterpreterPool) -> AsyncIterator[ToolRegistry]:
    settings = Settings(worker_http_body_bytes=1 << 20, worker_retry_max_wait_seconds=0.05)
    async with (
        open_tool_client(seconds=PATIENCE_SECONDS, trust_env=False) as http,
        open_edge(settings) as edge,
    ):
        tools = load_tools(
            ToolParts(settings=settings, http=http, interpreters=interpreters, edge=edge)
        )
        yield tools
        await tools.close()
