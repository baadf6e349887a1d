"""Spans of a command: its wait in the queue, its way through the worker, the run of its tool."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from time import time_ns

from noetl_bus.consumers.delivery import Delivery
from noetl_common.telemetry.carrier import carry, read_context
from noetl_common.telemetry.span import Span
from noetl_common.telemetry.tracing import record, tracing
from noetl_common.telemetry.work import working_on
from noetl_contract.commands import CommandNotification

type Handle = Callable[[Delivery], Awaitable[None]]

_open: ContextVar[list[Span] | None] = ContextVar("open", default=None)
"""The span of the command that this task handles, to be ended elsewhere."""


def traced(handle: Handle) -> Handle:
    """Return a handler of notifications that ends the spans that `taken` begins.

    It is the same one while tracing is off.
    """
    if tracing() is None:
        return handle

    async def handle_traced(delivery: Delivery) -> None:
        spans: list[Span] = []
        _open.set(spans)
        try:
            await handle(delivery)
        except BaseException as error:
            for span in spans:
                span.end(error=type(error).__name__)
            raise
        for span in spans:
            span.end()

    return handle_traced


def taken(note: CommandNotification, delivery: Delivery) -> None:
    """Begin the work on a command in this task: its log lines have its names from now on."""
    working_on(note)
    recorder, spans = tracing(), _open.get()
    if recorder is None or spans is None or spans:
        return
    parent = read_context(note.trace)
    if parent is None:
        return
    if recorder.ignores(parent):
        carry(parent)
        return
    stored_ns = int(delivery.stored_at_ns)
    record(recorder, "queue", parent, from_ns=stored_ns, to_ns=max(stored_ns, time_ns()))
    span = recorder.begin(
        "command",
        parent,
        kind="consumer",
        attributes={
            "noetl.execution_id": str(note.execution_id),
            "noetl.step": note.step,
            "noetl.command_id": note.command_id,
            "noetl.delivery": delivery.num_delivered,
        },
    )
    spans.append(span)
    carry(span.context)
