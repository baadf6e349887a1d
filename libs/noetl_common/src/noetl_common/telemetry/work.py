"""The current unit of work (a request, a message, a command), which every log line names.

The code that begins a unit of work calls `working_on`. The attributes of the object are read only
when a line is logged, so a unit of work that logs nothing costs one assignment.
"""

from contextvars import ContextVar, Token

from structlog.typing import EventDict, WrappedLogger

from noetl_common.telemetry.carrier import carried, trace_id_of

_NAMES = ("execution_id", "step", "command_id")

_work: ContextVar[object] = ContextVar("work", default=None)


def working_on(work: object) -> Token[object]:
    """Begin a unit of work in this task; if the task goes on, pass the token to `done_with`.

    Args:
        work: an object with some of the attributes ``execution_id``, ``step``, ``command_id`` and
            ``trace``, a mapping with a W3C ``traceparent``. They are read when a line is logged.
    """
    return _work.set(work)


def done_with(token: Token[object]) -> None:
    """End a unit of work, and return to the one before it."""
    _work.reset(token)


def add_work(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the attributes of the unit of work to a log line, without replacing its own fields."""
    work = _work.get()
    if work is not None:
        for name in _NAMES:
            if event.get(name) is None and (value := getattr(work, name, None)) not in (None, ""):
                event[name] = value
    if "trace_id" not in event and (found := _trace_id(work)):
        event["trace_id"] = found
    # Readers of JSON whose numbers are floats would round an integer of 64 bits.
    if isinstance(event.get("execution_id"), int):
        event["execution_id"] = str(event["execution_id"])
    return event


def _trace_id(work: object) -> str | None:
    known = carried()
    return trace_id_of(getattr(work, "trace", None) if known is None else known.context)
