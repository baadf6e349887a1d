"""Methods of both clients that take several calls or a stream."""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import cast

from noetl_contract.http.executions.events import StreamEvent
from noetl_contract.http.executions.reads import ExecutionStatusAnswer
from noetl_contract.http.workers.output import StepOutput
from noetl_contract.json import Json, encode

from noetl_client.calls import executions, results
from noetl_client.calls.call import Again, Call, Id
from noetl_client.errors import Busy, Unreachable, WaitTimedOut
from noetl_client.outcomes import is_over, result_of
from noetl_client.sse import END, Cursor, Message, MessageReader
from noetl_client.transport import poll_pause
from noetl_client.wires import Wire


async def ask(
    wire: Wire, method: str, path: str, body: Json = None, *, query: Mapping[str, str] | None = None
) -> Json:
    """Make a call for which there is no method; only a GET is repeated.

    Raises:
        ClientError: as ``send``.
    """
    content = None if body is None else encode(body)
    again = Again.SAFE if method == "GET" else Again.NEVER
    wanted = cast("type[Json]", object)
    return await wire.call(Call(method, path, wanted, query=query or {}, body=content, again=again))


async def wait(wire: Wire, execution_id: Id, *, seconds: float) -> ExecutionStatusAnswer:
    """Wait until an execution has ended, however it ends.

    Args:
        wire: to the server.
        execution_id: which one.
        seconds: to wait at most.

    Raises:
        WaitTimedOut: it runs on.
    """
    begun = time.monotonic()
    while True:
        standing = await wire.call(executions.status(execution_id))
        if is_over(standing):
            return standing
        waited = time.monotonic() - begun
        if waited >= seconds:
            raise WaitTimedOut(str(execution_id), standing.status, seconds)
        await wire.pause(poll_pause(waited, seconds - waited))


async def result(wire: Wire, execution_id: Id, *, resolve: bool = True) -> Json:
    """Return the result of an execution that has completed.

    Args:
        wire: to the server.
        execution_id: which one.
        resolve: put large results in the places of their references, which needs the right
            `results.resolve`.

    Raises:
        ExecutionFailed: it has failed, or was cancelled.
        NotEnded: it runs.
    """
    found = result_of(await wire.call(executions.detail(execution_id, events=False)))
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
        ExecutionFailed: it has failed, or was cancelled.
        WaitTimedOut: it runs on after so many seconds.
    """
    started = await wire.call(executions.start(path, workload, version=version))
    await wait(wire, started.execution_id, seconds=seconds)
    return await result(wire, started.execution_id)


async def stream(
    wire: Wire, execution_id: Id, *, after: Id | None = None, types: Sequence[str] = ()
) -> AsyncGenerator[StreamEvent]:
    """Yield the events of an execution in log order, each once, until it has ended.

    A stream that breaks is resumed behind the last event seen.

    Args:
        wire: to the server.
        execution_id: which one.
        after: id of an event; only those behind it.
        types: event types; all if empty.

    Raises:
        Unreachable: the server stayed away for longer than the connection's ``patience``.
    """
    cursor = Cursor(None if after is None else str(after), types)
    async with aclosing(_followed(wire, execution_id, cursor)) as messages:
        async for message in messages:
            event = message.event()
            if event is not None:
                yield event


async def output(wire: Wire, execution_id: Id) -> AsyncGenerator[StepOutput]:
    """Yield lines that steps print, as they do, until the execution has ended.

    Nothing of what was printed before by runs that have ended, which is in their results.
    Lines may be missing, which `dropped` counts. After a break, and only then, some come
    again, with the same numbers.

    Raises:
        Unreachable: the server stayed away for longer than the connection's ``patience``.
    """
    cursor = Cursor(is_output=True)
    async with aclosing(_followed(wire, execution_id, cursor)) as messages:
        async for message in messages:
            lines = message.output()
            if lines is not None:
                yield lines


async def _followed(wire: Wire, execution_id: Id, cursor: Cursor) -> AsyncGenerator[Message]:
    heard = time.monotonic()
    while True:
        try:
            async with aclosing(_messages(wire, execution_id, cursor)) as messages:
                async for message in messages:
                    heard = time.monotonic()
                    if message is None:
                        continue
                    if message.name == END:
                        return
                    cursor.take(message)
                    yield message
        except (Unreachable, Busy):
            if time.monotonic() - heard > wire.connection.patience:
                raise
        await wire.pause(wire.connection.retries.first_pause)


async def _messages(wire: Wire, execution_id: Id, cursor: Cursor) -> AsyncGenerator[Message | None]:
    """Yield messages of one stream, and None for each sign of life."""
    async with wire.lines(execution_id, cursor) as lines:
        reader = MessageReader()
        async for line in lines:
            yield reader.feed(line)
