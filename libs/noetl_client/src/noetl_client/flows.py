"""Methods of both clients that take several calls or a stream."""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import cast

from noetl_contract.http.executions.events import StreamEvent
from noetl_contract.http.executions.reads import ExecutionDetail, ExecutionStatusAnswer
from noetl_contract.http.workers.output import StepOutput
from noetl_contract.json import Json, encode

from noetl_client.calls import executions, results
from noetl_client.calls.call import Again, Call, Id
from noetl_client.errors import Busy, ExecutionFailed, NotEnded, Unreachable, WaitTimedOut
from noetl_client.sse import END, Cursor, Message, MessageReader
from noetl_client.transport import TERMINAL_STATUSES, poll_pause
from noetl_client.wires import Wire


async def ask(
    wire: Wire, method: str, path: str, body: Json = None, *, query: Mapping[str, str] | None = None
) -> Json:
    """Make a call that has no method of its own; only a GET is retried.

    Raises:
        ClientError: see ``send``.
    """
    content = None if body is None else encode(body)
    again = Again.SAFE if method == "GET" else Again.NEVER
    wanted = cast("type[Json]", object)
    return await wire.call(Call(method, path, wanted, query=query or {}, body=content, again=again))


async def wait(wire: Wire, execution_id: Id, *, seconds: float) -> ExecutionStatusAnswer:
    """Wait until an execution has ended with any status.

    Args:
        wire: connection to the server.
        execution_id: id of the execution.
        seconds: timeout.

    Raises:
        WaitTimedOut: the execution is still running.
    """
    begun = time.monotonic()
    while True:
        answer = await wire.call(executions.status(execution_id))
        if answer.status in TERMINAL_STATUSES:
            return answer
        waited = time.monotonic() - begun
        if waited >= seconds:
            raise WaitTimedOut(str(execution_id), answer.status, seconds)
        await wire.pause(poll_pause(waited, seconds - waited))


async def result(wire: Wire, execution_id: Id, *, resolve: bool = True) -> Json:
    """Return the result of an execution that has completed.

    Args:
        wire: connection to the server.
        execution_id: id of the execution.
        resolve: replace references by the large results that they name; needs the right
            `results.resolve`.

    Raises:
        ExecutionFailed: the execution has failed, or was cancelled.
        NotEnded: the execution is running.
    """
    found = _result_of(await wire.call(executions.detail(execution_id, events=False)))
    if not resolve:
        return found
    stored = {
        one: results.data_of(await wire.call(results.resolve(one)))
        for one in results.references_in(found)
    }
    return results.with_results(found, stored)


async def run(
    wire: Wire,
    path: str,
    workload: Mapping[str, Json] | None = None,
    *,
    seconds: float,
    version: int | str | None = None,
) -> Json:
    """Start a playbook, wait for it, and return its result.

    Raises:
        ExecutionFailed: the execution has failed, or was cancelled.
        WaitTimedOut: the execution is still running after ``seconds``.
    """
    started = await wire.call(executions.start(path, workload, version=version))
    await wait(wire, started.execution_id, seconds=seconds)
    return await result(wire, started.execution_id)


async def stream(
    wire: Wire, execution_id: Id, *, after: Id | None = None, types: Sequence[str] = ()
) -> AsyncGenerator[StreamEvent]:
    """Yield each event of an execution once, in log order, until the execution has ended.

    A stream that breaks is resumed after the last event.

    Args:
        wire: connection to the server.
        execution_id: id of the execution.
        after: id of an event; only later events are yielded.
        types: event types; empty for all.

    Raises:
        Unreachable: the server was away for longer than ``patience`` of the connection.
    """
    cursor = Cursor(None if after is None else str(after), types)
    async with aclosing(_resumed_messages(wire, execution_id, cursor)) as messages:
        async for message in messages:
            event = message.event()
            if event is not None:
                yield event


async def output(wire: Wire, execution_id: Id) -> AsyncGenerator[StepOutput]:
    """Yield the lines that steps print, until the execution has ended.

    The output of tool calls that ended before is not yielded; it is in their results. Lines may be
    missing, which `dropped` counts. After a break, some lines are repeated with the same numbers.

    Raises:
        Unreachable: the server was away for longer than ``patience`` of the connection.
    """
    cursor = Cursor(is_output=True)
    async with aclosing(_resumed_messages(wire, execution_id, cursor)) as messages:
        async for message in messages:
            lines = message.output()
            if lines is not None:
                yield lines


async def _resumed_messages(
    wire: Wire, execution_id: Id, cursor: Cursor
) -> AsyncGenerator[Message]:
    received_at = time.monotonic()
    while True:
        try:
            async with aclosing(_messages(wire, execution_id, cursor)) as messages:
                async for message in messages:
                    received_at = time.monotonic()
                    if message is None:
                        continue
                    if message.name == END:
                        return
                    cursor.advance(message)
                    yield message
        except (Unreachable, Busy):
            if time.monotonic() - received_at > wire.connection.patience:
                raise
        await wire.pause(wire.connection.retries.first_pause)


async def _messages(wire: Wire, execution_id: Id, cursor: Cursor) -> AsyncGenerator[Message | None]:
    """Yield the messages of one stream, and None for every other line."""
    async with wire.lines(execution_id, cursor) as lines:
        reader = MessageReader()
        async for line in lines:
            yield reader.feed(line)


def _result_of(detail: ExecutionDetail) -> Json:
    """Return the result of an execution that has completed.

    Raises:
        ExecutionFailed: the execution has failed, or was cancelled.
        NotEnded: the execution is running.
    """
    execution_id, status = str(detail.execution_id), detail.status
    if status not in TERMINAL_STATUSES:
        raise NotEnded(f"execution {execution_id} is {status}: it has no result yet")
    if status != "COMPLETED":
        cause = detail.cause
        reason = detail.error or (cause.sentence() if cause is not None else "no reason is known")
        raise ExecutionFailed(execution_id, status, reason, cause)
    return detail.result
