"""`/api/status`, `/api/threads`, `/api/profiler/*`."""

import asyncio
import threading

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.http.system.process import (
    ProfilerAnswer,
    ProfilerStatus,
    StatusAnswer,
    ThreadEntry,
)

from noetl_api_gateway.gateway import TheProcess
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("system")


@TOPIC.route(
    "GET /api/status",
    StatusAnswer,
    needs=Right.SERVICE_READ,
    summary="What this process and its machine use",
)
async def status(request: AnyRequest, service: TheProcess) -> Response[bytes]:
    """Read figures from the kernel; shares of the processor are those since the last request."""
    return json_answer(request, await asyncio.to_thread(service.figures.read))


@TOPIC.route(
    "GET /api/threads",
    list[ThreadEntry],
    needs=Right.SERVICE_READ,
    summary="The thread that answers",
)
async def threads(request: AnyRequest) -> Response[bytes]:
    """Name the one thread that serves requests."""
    thread = threading.current_thread()
    entry = ThreadEntry(
        thread_id=thread.native_id or 0, name=thread.name, is_alive=thread.is_alive()
    )
    return json_answer(request, [entry])


@TOPIC.route(
    "GET /api/profiler/status",
    ProfilerStatus,
    needs=Right.SERVICE_READ,
    summary="Whether memory is being profiled",
)
async def profiler_status(request: AnyRequest) -> Response[bytes]:
    """Answer that memory is never profiled."""
    answer = ProfilerStatus(
        is_profiling=False,
        profiler_type=None,
        message="Memory profiling is not available in this server",
    )
    return json_answer(request, answer)


@TOPIC.route(
    "POST /api/profiler/memory/start",
    ProfilerAnswer,
    needs=Right.SERVICE_PROFILE,
    summary="Begin to profile memory, which needs a tool from outside",
)
async def start_profiler(request: AnyRequest) -> Response[bytes]:
    """Answer with the tools that can profile memory."""
    message = (
        "Memory profiling needs an external tool: attach memray or py-spy to the process id"
        " that GET /api/status tells"
    )
    return json_answer(request, ProfilerAnswer(status="info", message=message))


@TOPIC.route(
    "POST /api/profiler/memory/stop",
    ProfilerAnswer,
    needs=Right.SERVICE_PROFILE,
    summary="End a profile of memory",
)
async def stop_profiler(request: AnyRequest) -> Response[bytes]:
    """Answer that no profile is active."""
    message = "Memory profiling is not currently active"
    return json_answer(request, ProfilerAnswer(status="info", message=message))
