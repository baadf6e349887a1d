"""The playbook tool: start a child execution, and wait for it when a step's result is asked for."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic
from typing import Self

import orjson
from noetl_bus.consumers.permits import permit_released
from noetl_contract.json import Json, JsonObject
from noetl_contract.tools import merge_labels

from noetl_worker.control_plane.edge import Edge
from noetl_worker.tools.edge_calls import IDEMPOTENCY_KEY, EdgeCalls
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.tool import Failure, Tool, ToolContext, ToolError, ToolParts, ToolResult

_HTTP_SECONDS = 30
_WAIT_SECONDS = 300
_POLL_SECONDS = 2.0
_FIRST_LOOK_SECONDS = 0.05
_LONGEST_ERROR = 2000
_PAGE_SIZE = 100
_MOST_PAGES = 200
_ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class _Child:
    """A child to start."""

    body: JsonObject
    path: Json
    return_step: str | None
    wait_seconds: float
    poll_seconds: float
    must_succeed: bool

    @classmethod
    def read(cls, config: JsonObject, context: ToolContext, *, least_poll: float) -> Self:
        fields = Fields(config, kind="playbook")
        path = fields.optional_text("path")
        catalog_id = fields.optional_integer("catalog_id")
        if path is None and catalog_id is None:
            raise ToolError(
                "Configuration error", "Playbook execution requires `path` or `catalog_id`"
            )
        body: JsonObject = {"payload": _payload(config)}
        if path is not None:
            body["path"] = path
        if catalog_id is not None:
            body["catalog_id"] = catalog_id
        version = _version(fields, config.get("version"))
        if version is not None:
            body["version"] = version
        parent = fields.optional_integer("parent_execution_id")
        parent = context.execution_id if parent is None else parent
        if parent > 0:
            body["parent_execution_id"] = parent
        wait = fields.optional_unsigned("timeout")
        poll = fields.optional_number("poll_interval")
        return cls(
            body=body,
            path=path,
            return_step=fields.optional_text("return_step"),
            wait_seconds=float(_WAIT_SECONDS if wait is None else wait),
            poll_seconds=max(_POLL_SECONDS if poll is None else poll, least_poll),
            must_succeed=_must_succeed(fields),
        )


class Playbook:
    """The playbook tool."""

    def __init__(self, edge: Edge, *, most: int, least_poll_seconds: float = 1.0) -> None:
        self._edge = edge
        self._most = most
        self._least_poll_seconds = least_poll_seconds

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Start a child. It goes on when this tool is cancelled or fails."""
        config = context.render(config)
        child = _Child.read(config, context, least_poll=self._least_poll_seconds)
        if not context.server_url:
            raise ToolError(
                "Configuration error",
                "ExecutionContext.server_url is required for playbook tool",
            )
        seconds = float(_HTTP_SECONDS if context.timeout is None else max(context.timeout, 1))
        calls = EdgeCalls(self._edge, context, most=self._most)
        started = await _start(calls, child, context, seconds=seconds)
        execution_id = str(started["execution_id"])
        if child.return_step is None:
            status = started.get("status")
            return ToolResult(
                data={
                    # A repeated start is a start all the same.
                    "status": "started" if status in {None, "duplicate"} else status,
                    "execution_id": execution_id,
                    "path": child.path,
                    "async": True,
                }
            )
        # The child's commands may come to this very worker.
        with permit_released():
            return ToolResult(data=await _outcome(calls, child, execution_id, seconds=seconds))


async def _start(
    calls: EdgeCalls, child: _Child, context: ToolContext, *, seconds: float
) -> JsonObject:
    """Start the child once, however often that must be tried."""
    headers = _start_key(child, context)
    reply = await calls.post("/api/execute", child.body, seconds=seconds, headers=headers)
    if not reply.is_good:
        raise ToolError(
            "HTTP error",
            f"Failed to start child playbook: {reply.status} {reply.text[:_LONGEST_ERROR]}",
            failure=Failure(
                kind="server_error" if reply.status >= 500 else "client_error",
                retryable=reply.status >= 500,
                status=reply.status,
                code=f"HTTP_{reply.status}",
            ),
        )
    body = reply.json()
    if not isinstance(body, dict) or not isinstance(body.get("execution_id"), str | int):
        raise ToolError("JSON error", "the answer to the start has no `execution_id`")
    return body


def _start_key(child: _Child, context: ToolContext) -> dict[str, str]:
    """Return a key by which the edge knows the same start of the same command again.

    The n-th start of equal content: a loop in a pipeline may start equal children on purpose.
    """
    if not context.event_id:
        return {}
    content = orjson.dumps(child.body, option=orjson.OPT_SORT_KEYS)
    digest = blake2b(content, digest_size=12).hexdigest()
    context.child_starts[digest] += 1
    number = context.child_starts[digest]
    key = f"child:{context.execution_id}:{context.event_id}:{digest}:{number}"
    return {IDEMPOTENCY_KEY: key}


async def _outcome(
    calls: EdgeCalls, child: _Child, execution_id: str, *, seconds: float
) -> JsonObject | Json:
    """Wait for the child's end; return its step's data, or how it ended."""
    deadline = monotonic() + child.wait_seconds
    # Many children are done in no time; the interval is for those that aren't.
    pause = min(_FIRST_LOOK_SECONDS, child.poll_seconds)
    while True:
        left = deadline - monotonic()
        if left <= 0:
            late: JsonObject = {
                "status": "timeout",
                "execution_id": execution_id,
                "timeout_seconds": int(child.wait_seconds),
            }
            return _checked(child, late, execution_id)
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, child.poll_seconds)
        document = await _status(calls, execution_id, seconds=seconds)
        if document is None:
            continue
        if document.get("status") == "COMPLETED" and child.return_step is not None:
            async for event in _calls_done(calls, execution_id, seconds=seconds):
                if event.get("node_name") == child.return_step:
                    data = _data_of(event.get("result"))
                    return await _whole(calls, data, execution_id, seconds=seconds)
            return document
        if document.get("status") in _ENDED or document.get("is_cancelled") is True:
            return _checked(child, document, execution_id)


async def _status(calls: EdgeCalls, execution_id: str, *, seconds: float) -> JsonObject | None:
    """Return the child's status document, None if it can't be had now."""
    for path in (f"/api/executions/{execution_id}/status", f"/api/executions/{execution_id}"):
        try:
            reply = await calls.look(path, seconds=seconds)
            document = reply.json() if reply.is_good else None
        except ToolError:
            continue
        if isinstance(document, dict):
            return document
    return None


async def _calls_done(
    calls: EdgeCalls, execution_id: str, *, seconds: float
) -> AsyncIterator[JsonObject]:
    """Give the `call.done` events, newest first."""
    for page in range(1, _MOST_PAGES + 1):
        reply = await calls.get(
            f"/api/executions/{execution_id}/events",
            seconds=seconds,
            params={
                "event_type": "call.done",
                "page": str(page),
                "page_size": str(_PAGE_SIZE),
            },
        )
        if not reply.is_good:
            raise ToolError(
                "HTTP error",
                f"Failed to read the child's events: {reply.status} {reply.text[:_LONGEST_ERROR]}",
            )
        document = reply.json()
        events = document.get("events") if isinstance(document, dict) else None
        for event in events if isinstance(events, list) else ():
            if isinstance(event, dict):
                yield event
        if not events or not document.get("pagination", {}).get("has_next"):
            return


def _data_of(result: Json) -> Json:
    """Return the data of a `call.done` as templates see it."""
    for key in ("context", "result", "context", "data"):
        result = result.get(key) if isinstance(result, dict) else None
    return merge_labels(result)


async def _whole(calls: EdgeCalls, data: Json, execution_id: str, *, seconds: float) -> Json:
    """Return the data of a child's step, read from the result store if it was too large.

    It becomes part of the parent's result, where a reference to the child's says nothing.
    """
    ref = data.get("_ref") if isinstance(data, dict) else None
    if not isinstance(ref, str) or not ref.startswith(f"noetl://execution/{execution_id}/"):
        return data
    reply = await calls.get("/api/result/resolve", seconds=seconds, params={"ref": ref})
    if not reply.is_good:
        raise ToolError(
            "HTTP error",
            f"Failed to read the child's result {ref}: {reply.status} "
            f"{reply.text[:_LONGEST_ERROR]}",
        )
    document = reply.json()
    return merge_labels(document.get("data") if isinstance(document, dict) else document)


def _payload(config: JsonObject) -> Json:
    """Return the first that is not empty; anything but an object is none."""
    for name in ("args", "input", "payload"):
        value = config.get(name)
        if value:
            return value if isinstance(value, dict) else {}
    return {}


def _must_succeed(fields: Fields) -> bool:
    word = fields.optional_text("on_child_failure")
    if word not in {None, "fail", "continue"}:
        raise fields.refuse(f"`on_child_failure` is `fail` or `continue`, not `{word}`")
    return word == "fail"


def _checked(child: _Child, document: Json, execution_id: str) -> Json:
    """Return how a child ended.

    Raises:
        ToolError: it did not complete, and the step is to fail then.
    """
    status = document.get("status") if isinstance(document, dict) else None
    if not child.must_succeed or not isinstance(status, str):
        return document
    error = document.get("error")
    if status == "timeout":
        status, error = "", f"has not ended within {int(child.wait_seconds)} seconds"
    name = child.path or child.body.get("catalog_id")
    said = f"ended {status}" if status else str(error)
    why = f": {error}" if status and error else ""
    raise ToolError(
        f"Child execution {execution_id}",
        f"{name} {said}{why}"[:_LONGEST_ERROR],
        failure=Failure(kind="child"),
    )


def _version(fields: Fields, value: Json) -> int | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in {"", "latest"}):
        return None
    if isinstance(value, str):
        try:
            value = int(value.strip())
        except ValueError:
            raise fields.refuse(
                f'invalid value: string "{value}", expected a version or "latest"'
            ) from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise fields.refuse("`version` is no version")
    return value


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    return Playbook(parts.edge, most=parts.settings.worker_resolve_body_bytes)
