"""The reported form of a result; a large one is stored first."""

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter

from msgspec import Raw
from noetl_common.logging import get_logger
from noetl_contract.json import Json, JsonObject
from noetl_contract.tools.results import with_bodies_once

from noetl_worker import jsonb, metrics
from noetl_worker.commands import Command
from noetl_worker.control_plane.result_stores import NotStored, ResultStore, StoredResult
from noetl_worker.interpreters.host.results import NotJson, plain
from noetl_worker.redaction import is_heavy, scrub
from noetl_worker.run.output_select import select_output
from noetl_worker.tools.tool import Failure, ToolError, ToolResult

_log = get_logger()
_LONGEST_ERROR = 2000
LONGEST_TAIL = 16 << 10
"""Characters of each stream's last lines that stay in sight where the result itself does not."""


async def reported_result(
    command: Command, result: ToolResult, store: ResultStore, *, secrets: Sequence[str] = ()
) -> JsonObject:
    """Return the `result` of `call.done`, without the texts of ``secrets``.

    Raises:
        ToolError: it is too large for its event, and could not be stored.
        NotJson: something in it has no JSON.
    """
    body = result.to_json()
    if is_heavy(body):
        # 32 MB of text take 0.2 s; on the event loop heartbeats would wait for that.
        body, data = await asyncio.to_thread(_prepared, body, secrets)
    else:
        body, data = _prepared(body, secrets)
    status = result.status
    if len(data) - _repeated_bytes(body, len(data), most=store.inline_limit) <= store.inline_limit:
        # Encoded once: the event takes the bytes as they are.
        return {"status": status, "context": Raw(data)}
    once = await asyncio.to_thread(with_bodies_once, body)
    if once is not body:
        data = await asyncio.to_thread(jsonb.encode, once)
    started = perf_counter()
    try:
        stored = await store.put(command, data)
    except NotStored as error:
        metrics.RESULT_PUT_ERRORS.inc()
        _log.warning("result_not_stored", command_id=command.command_id, size=len(data))
        text = f"the result of step '{command.step}' has {len(data)} bytes and is lost: {error}"
        failure = Failure(retryable=error.may_pass)
        raise ToolError("Result not stored", text, failure=failure) from error
    finally:
        metrics.RESULT_PUT_SECONDS.observe(perf_counter() - started)
    metrics.RESULT_PUT_BYTES.inc(len(data))
    selected = select_output(body.get("data"), command.context.get("output_select"))
    updates = _updates(command, body, most=store.inline_limit // 2)
    context: JsonObject = {"data": {**selected, **updates, "_ref": stored.ref}}
    # What went wrong stays in sight.
    context |= {name: body[name] for name in ("error", "task") if name in body}
    if isinstance(context.get("error"), str):
        context["error"] = context["error"][:_LONGEST_ERROR]
    for name in ("stdout", "stderr"):
        if body.get(name):
            context[name] = _tail(body[name])
    return {
        "status": status,
        "context": Raw(jsonb.encode(context)),
        "reference": _reference(stored),
    }


def _updates(command: Command, body: JsonObject, *, most: int) -> JsonObject:
    """Return the variables that rules of the playbook have set: routing sees their values.

    Raises:
        ToolError: they are too large for an event.
    """
    data = body.get("data")
    found = data.get("_context_updates") if isinstance(data, dict) else None
    if not isinstance(found, dict) or not found:
        return {}
    size = len(jsonb.encode(found))
    if size > most:
        names = ", ".join(sorted(found))
        text = (
            f"the variables that step '{command.step}' sets have {size} bytes, of {most}: {names}"
        )
        raise ToolError("Variables too large", text)
    return {"_context_updates": found}


def _tail(text: str) -> str:
    """Return the last lines of a text."""
    if len(text) <= LONGEST_TAIL:
        return text
    tail = text[-LONGEST_TAIL:]
    _, newline, lines = tail.partition("\n")
    return lines if newline else tail


def _repeated_bytes(body: JsonObject, size: int, *, most: int) -> int:
    """Return how much of a result are bodies of answers that stand there a second time.

    The http tool gives each under two names. What was small enough to travel with its event
    stays so. A result that is too large even without them is not looked at.
    """
    if not most < size <= 2 * most:
        return 0
    data = body.get("data")
    answers = [data, *data.values()] if isinstance(data, dict) else []
    return sum(
        len(jsonb.encode(answer["data"]))
        for answer in answers
        if isinstance(answer, dict)
        and {"status_code", "headers", "body", "data"} == answer.keys()
        and answer["body"] == answer["data"]
    )


def _prepared(body: JsonObject, secrets: Sequence[str]) -> tuple[JsonObject, bytes]:
    try:
        scrubbed: JsonObject = scrub(body, secrets=secrets)
        return scrubbed, jsonb.encode(scrubbed)
    except NotJson:
        plain(body.get("data"))  # knows the path
        raise


def _reference(stored: StoredResult) -> Mapping[str, Json]:
    meta: JsonObject = {
        "bytes": stored.size,
        "sha256": stored.sha256,
        "media_type": "application/json",
        "content_type": "application/json",
    }
    reference: JsonObject = {
        "kind": "result_ref",
        "ref": stored.ref,
        "store": stored.store,
        "scope": stored.scope,
        "meta": {name: value for name, value in meta.items() if value is not None},
    }
    if stored.expires_at is not None:
        reference["expires_at"] = stored.expires_at
    return reference
