"""W3C trace contexts: received from callers, and passed on to others.

A context is a mapping with ``traceparent`` and perhaps ``tracestate``, as headers and as JSON. It
is carried on whether this process traces or not; without one nothing is added anywhere.
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
    """The context of the unit of work that runs.

    Attributes:
        context: that of the caller, or of the span that is open here.
        is_continued: it began outside of this unit of work.
    """

    context: Context
    is_continued: bool = True


_carried: ContextVar[Carried | None] = ContextVar("carried", default=None)


def read_context(said: object) -> dict[str, str] | None:
    """Return the context in headers or JSON; None if there is none or it is malformed."""
    if not isinstance(said, Mapping):
        return None
    parent = said.get(TRACE_PARENT)
    if not isinstance(parent, str) or _PARENT.fullmatch(parent) is None:
        return None
    state = said.get(TRACE_STATE)
    if isinstance(state, str) and state and len(state) <= _LONGEST_STATE and state.isascii():
        return {TRACE_PARENT: parent, TRACE_STATE: state}
    return {TRACE_PARENT: parent}


def trace_id_of(said: Any) -> str | None:
    """Return the trace id of a context; None if there is none."""
    parent = said.get(TRACE_PARENT) if isinstance(said, Mapping) else None
    match = _PARENT.fullmatch(parent) if isinstance(parent, str) else None
    return match[1] if match else None


def is_sampled(context: Context) -> bool:
    """Return whether the sender of a context records its spans."""
    return bool(int(context[TRACE_PARENT][-2:], 16) & 1)


def carry(context: Context, *, is_continued: bool = True) -> Token[Carried | None]:
    """Set the context of this task; pass the token to `carry_no_more`."""
    return _carried.set(Carried(context, is_continued))


def carry_no_more(token: Token[Carried | None]) -> None:
    """Restore the context of before."""
    _carried.reset(token)


def carried() -> Carried | None:
    """Return the context of the unit of work that runs, if it has one."""
    return _carried.get()


def carried_headers() -> Context:
    """Return the trace headers for messages of this unit of work; often empty."""
    found = _carried.get()
    return _NOTHING if found is None else found.context
