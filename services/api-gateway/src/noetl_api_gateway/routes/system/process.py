"""`/api/status`, `/api/threads`, `/api/profiler/*`."""

import asyncio
import threading

from litestar import Response, get, post
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
from noetl_api_gateway.http.openapi import documented


@get(
    "/api/status",
    opt={"needs": Right.SERVICE_READ},
    summary="What this process and its machine use",
    tags=["system"],
    operation_class=documented(None, StatusAnswer),
)
async def status(request: AnyRequest, service: TheProcess) -> Response[bytes]:
    """Read figures from the kernel; shares of the processor are those since the last request."""
    return json_answer(request, await asyncio.to_thread(service.figures.read))


@get(
    "/api/threads",
    opt={"needs": Right.SERVICE_READ},
    summary="The thread that answers",
    tags=["system"],
    operation_class=documented(None, list[ThreadEntry]),
)
async def threads(request: AnyRequest) -> Response[bytes]:
    """Name the one thread that serves requests."""
    thread = threading.current_thread()
    entry = ThreadEntry(
        thread_id=thread.native_id or 0, name=thread.name, is_alive=thread.is_alive()
    )
    return json_answer(request, [entry])


@get(
    "/api/profiler/status",
    opt={"needs": Right.SERVICE_READ},
    summary="Whether memory is being profiled",
    tags=["system"],
    operation_class=documented(None, ProfilerStatus),
)
async def profiler_status(request: AnyRequest) -> Response[bytes]:
    """Answer that memory is never profiled."""
    answer = ProfilerStatus(
        is_profiling=False,
        profiler_type=None,
        message="Memory profiling is not available in this server",
    )
    return json_answer(request, answer)


@post(
    "/api/profiler/memory/start",
    opt={"needs": Right.SERVICE_PROFILE},
    status_code=200,
    summary="Begin to profile memory, which needs a tool from outside",
    tags=["system"],
    operation_class=documented(None, ProfilerAnswer),
)
async def start_profiler(request: AnyRequest) -> Response[bytes]:
    """Answer with the tools that can profile memory."""
    message = (
        "Memory profiling needs an external tool: attach memray or py-spy to the process id"
        " that GET /api/status tells"
    )
    return json_answer(request, ProfilerAnswer(status="info", message=message))


@post(
    "/api/profiler/memory/stop",
    opt={"needs": Right.SERVICE_PROFILE},
    status_code=200,
    summary="End a profile of memory",
    tags=["system"],
    operation_class=documented(None, ProfilerAnswer),
)
async def stop_profiler(request: AnyRequest) -> Response[bytes]:
    """Answer that no profile is active."""
    message = "Memory profiling is not currently active"
    return json_answer(request, ProfilerAnswer(status="info", message=message))


ROUTES = [status, threads, profiler_status, start_profiler, stop_profiler]
