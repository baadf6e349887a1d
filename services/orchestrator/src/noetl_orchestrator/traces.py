"""Spans of turns: the wait for one, its decisions, its commit, and the commands it issues.

An execution is traced when it was started with a W3C context, which its state keeps. Each command
begins below that context and not below the turn that issued it, which it is linked to: else an
execution of a hundred steps would be a hundred levels deep.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import time_ns
from typing import Self

from noetl_bus.consumers.delivery import Delivery
from noetl_common.telemetry.carrier import Context, read_context, trace_id_of
from noetl_common.telemetry.span import Attributes, Span, Tracing
from noetl_common.telemetry.tracing import record, tracing
from noetl_contract.ingress import ExecuteMessage, IngressMessage
from noetl_contract.json import Json
from noetl_engine.outputs import NewCommand

_MOST_LINKS = 16
_SHORT_NS = 1_000_000
"""Shortest phase that gets a span, among the phases that mostly take no time."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Origin and time of an input, while spans are recorded.

    Attributes:
        sender: the trace context of its sender, if there was one.
        stored_ns: Unix nanoseconds of its arrival.
    """

    sender: Context | None
    stored_ns: int


def arrival_of(delivery: Delivery) -> Arrival | None:
    """Return sender and time of a message; None while tracing is off."""
    if tracing() is None:
        return None
    return Arrival(read_context(delivery.headers), int(delivery.stored_at_ns))


def with_root(message: IngressMessage) -> IngressMessage:
    """Begin a trace for a start that has none, while tracing is on.

    A child takes over the trace of its parent, which is not known yet.
    """
    recorder = tracing()
    if (
        recorder is None
        or not isinstance(message, ExecuteMessage)
        or message.trace is not None
        or message.parent_execution_id is not None
    ):
        return message
    span = recorder.begin("start execution", None, attributes=_names(message.execution_id))
    span.end()
    return message.but(trace=dict(span.context))


class UnitSpans:
    """Spans of one unit of work; they are sent only if it is committed.

    Attributes:
        context: of the span of the turn.
    """

    def __init__(
        self,
        recorder: Tracing,
        execution_id: int,
        execution: Context,
        arrivals: Sequence[Arrival],
        began_ns: int,
    ) -> None:
        self._recorder = recorder
        self._execution_id = execution_id
        self._execution = execution
        self._arrivals = arrivals
        self._issued: list[Span] = []
        trace_id = trace_id_of(execution)
        senders = [one.sender for one in arrivals if one.sender is not None]
        own = next((sender for sender in senders if trace_id_of(sender) == trace_id), None)
        self._turn = recorder.begin(
            "turn",
            own or execution,
            kind="consumer",
            at_ns=min((one.stored_ns for one in arrivals), default=began_ns),
            links=[sender for sender in senders if sender is not own][:_MOST_LINKS],
            attributes={**_names(execution_id), "noetl.inputs": max(1, len(arrivals))},
        )
        self.context = dict(self._turn.context)

    def of_command(self, command: NewCommand) -> Json:
        """Begin the span of a command, and return its context for the worker that runs it."""
        span = self._recorder.begin(
            "issue command",
            self._execution,
            kind="producer",
            links=[self.context],
            attributes={
                **_names(self._execution_id),
                "noetl.step": command.step,
                "noetl.command_id": command.command_id,
                "noetl.tool": command.tool_kind,
                "noetl.pool": command.pool,
            },
        )
        self._issued.append(span)
        return dict(span.context)

    def end(self, times: "TurnSpans") -> None:
        """Send the spans: the unit is committed and its messages are with the broker."""
        for arrival in self._arrivals:
            until = max(arrival.stored_ns, times.began_ns)
            self._below("wait", arrival.stored_ns, until)
        if times.loaded_ns - times.began_ns > _SHORT_NS:
            self._below("load", times.began_ns, times.loaded_ns)
        self._below("decide", times.loaded_ns, times.decided_ns)
        self._below("commit", times.decided_ns, times.committed_ns)
        now = time_ns()
        for span in self._issued:
            span.end(at_ns=times.committed_ns)
            if now - times.committed_ns > _SHORT_NS:
                begin = times.committed_ns
                record(self._recorder, "hand over", span.context, from_ns=begin, to_ns=now)
        self._turn.end(at_ns=now)

    def _below(self, name: str, from_ns: int, to_ns: int) -> None:
        record(self._recorder, name, self.context, from_ns=from_ns, to_ns=to_ns)


class TurnSpans:
    """The times of one turn, and the spans of the executions in it that are traced."""

    __slots__ = ("_recorder", "began_ns", "committed_ns", "decided_ns", "loaded_ns")

    def __init__(self, recorder: Tracing) -> None:
        self._recorder = recorder
        self.began_ns = self.loaded_ns = self.decided_ns = self.committed_ns = time_ns()

    @classmethod
    def begin(cls) -> Self | None:
        """Return the spans of a turn that begins; None while tracing is off."""
        recorder = tracing()
        return None if recorder is None else cls(recorder)

    def loaded(self) -> None:
        """Note that all rows for the turn have been read."""
        self.loaded_ns = time_ns()

    def of_unit(
        self, execution_id: int, trace: Json, arrivals: Iterable[Arrival | None]
    ) -> UnitSpans | None:
        """Begin the spans of a unit of work; None if its execution is not traced."""
        execution = read_context(trace)
        if execution is None or self._recorder.ignores(execution):
            return None
        known = [one for one in arrivals if one is not None]
        return UnitSpans(self._recorder, execution_id, execution, known, self.began_ns)

    def decided(self) -> None:
        """Note that all is decided and encoded."""
        self.decided_ns = self.committed_ns = time_ns()

    def committed(self) -> None:
        """Note the end of the commit."""
        self.committed_ns = time_ns()


def _names(execution_id: int) -> Attributes:
    return {"noetl.execution_id": str(execution_id)}
