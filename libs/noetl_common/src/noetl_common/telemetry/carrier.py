"""W3C trace contexts, which are received from callers and propagated to callees.

A context is a mapping with ``traceparent`` and perhaps ``tracestate``, in headers and in JSON. The
context is propagated even if this process records no spans. Without one, no header is added.
"""

import re
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any

TRACE_PARENT = "traceparent"
TRACE_STATE = "tracestate"
_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LONGEST_STATE = 512
_NOTHING: Mapping[str, str] = {}

type Context = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Carried:
    """The trace context of the current unit of work.

    Attributes:
        context: the context of the caller, or of the open span.
        is_continued: whether the trace began outside of this unit of work.
    """

    context: Context
    is_continued: bool = True


_carried: ContextVar[Carried | None] = ContextVar("carried", default=None)


def read_context(source: object) -> dict[str, str] | None:
    """Return the context in headers or JSON, or None if it is missing or malformed."""
    if not isinstance(source, Mapping):
        return None
    parent = source.get(TRACE_PARENT)
    if not isinstance(parent, str) or _PARENT.fullmatch(parent) is None:
        return None
    state = source.get(TRACE_STATE)
    if isinstance(state, str) and state and len(state) <= _LONGEST_STATE and state.isascii():
        return {TRACE_PARENT: parent, TRACE_STATE: state}
    return {TRACE_PARENT: parent}


def trace_id_of(source: Any) -> str | None:
    """Return the trace id of the context in headers or JSON, or None without a context."""
    parent = source.get(TRACE_PARENT) if isinstance(source, Mapping) else None
    match = _PARENT.fullmatch(parent) if isinstance(parent, str) else None
    return match[1] if match else None


def is_sampled(context: Context) -> bool:
    """Return whether the sender of a context records its spans."""
    return bool(int(context[TRACE_PARENT][-2:], 16) & 1)


def carry(context: Context, *, is_continued: bool = True) -> Token[Carried | None]:
    """Set the trace context of this task; pass the token to `reset_trace_context`."""
    return _carried.set(Carried(context, is_continued))


def reset_trace_context(token: Token[Carried | None]) -> None:
    """Restore the trace context that `carry` replaced."""
    _carried.reset(token)


def carried() -> Carried | None:
    """Return the trace context of the current unit of work, if it has one."""
    return _carried.get()


def carried_headers() -> Context:
    """Return the trace headers for messages of this unit of work; empty without a context."""
    found = _carried.get()
    return _NOTHING if found is None else found.context
