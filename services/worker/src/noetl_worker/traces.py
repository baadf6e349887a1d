"""Spans of a command: its wait in the queue, its way through the worker, the run of its tool."""

from collections.abc import Awaitable, Callable
from time import time_ns

from noetl_common.bus.delivery import Delivery
from noetl_common.telemetry.carrier import carry, read_context
from noetl_common.telemetry.tracing import record, tracing

from noetl_worker.commands import UndecodableNotification, decode_notification

type Handle = Callable[[Delivery], Awaitable[None]]


def traced(handle: Handle) -> Handle:
    """Return a handler of notifications that records spans; the same one while tracing is off."""
    recorder = tracing()
    if recorder is None:
        return handle

    async def handle_traced(delivery: Delivery) -> None:
        began = time_ns()
        try:
            note = decode_notification(delivery.data)
        except UndecodableNotification:
            return await handle(delivery)
        parent = read_context(note.trace)
        if parent is None:
            return await handle(delivery)
        record(recorder, "queue", parent, from_ns=int(delivery.stored_at_ns), to_ns=began)
        span = recorder.begin("command", parent, kind="consumer")
        span.note(
            {
                "noetl.execution_id": str(note.execution_id),
                "noetl.step": note.step,
                "noetl.command_id": note.command_id,
                "noetl.delivery": delivery.num_delivered,
            }
        )
        carry(span.context)
        try:
            await handle(delivery)
        except BaseException as error:
            span.end(error=type(error).__name__)
            raise
        span.end()
        return None

    return handle_traced
