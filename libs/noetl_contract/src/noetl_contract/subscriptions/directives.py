"""Directives: headers of a message that decide about its start, as the subscription allows."""

import re
from dataclasses import dataclass

from noetl_contract.json import JsonObject
from noetl_contract.subscriptions.document import DispatchSpec, HeadersSpec, Rule, TraceSpec
from noetl_contract.subscriptions.messages import Message

PLAYBOOK = "dispatch.playbook"
POOL = "dispatch.execution_pool"
PRIORITY = "priority"
CONTROLS = (PLAYBOOK, POOL, PRIORITY, "idempotency_key", "content_type", "schema_hint")
"""Options that a directive may control."""

_LISTED = frozenset({PLAYBOOK, POOL})
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LONGEST = 500
_LONGEST_STATE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Directed:
    """Dispatch options of one message.

    Attributes:
        playbook: path of the started playbook.
        pool: pool of its execution.
        idempotency_key: key that its sender gave it.
        content_type: type that its sender gave it.
        schema_hint: name of its schema.
        trace: part of the sender's trace that is passed on.
        applied: values that headers have decided, by the word of the directive.
    """

    playbook: str
    pool: str | None = None
    idempotency_key: str | None = None
    content_type: str | None = None
    schema_hint: str | None = None
    trace: JsonObject | None = None
    applied: JsonObject


def directed(message: Message, dispatch: DispatchSpec, headers: HeadersSpec) -> Directed:
    """Return the dispatch options of a message."""
    applied: JsonObject = {}
    for rule in headers.directives:
        value = message.last(rule.header)
        chosen = None if value is None else _chosen(rule, value)
        if chosen is not None:
            applied[rule.controls] = chosen
    pool = applied.get(POOL) or applied.get(PRIORITY) or dispatch.execution_pool or None
    return Directed(
        playbook=applied.get(PLAYBOOK, dispatch.playbook),
        pool=pool,
        idempotency_key=applied.get("idempotency_key"),
        content_type=applied.get("content_type"),
        schema_hint=applied.get("schema_hint"),
        trace=_trace(message, headers.trace),
        applied=applied,
    )


def _chosen(rule: Rule, value: str) -> str | None:
    """Return the value that a header decides; None if it doesn't count."""
    if not value or len(value) > _LONGEST or rule.controls not in CONTROLS:
        return None
    if rule.controls == PRIORITY:
        return rule.map.get(value) or None
    if rule.allowed or rule.controls in _LISTED:
        return value if value in rule.allowed else None
    return value


def _trace(message: Message, spec: TraceSpec) -> JsonObject | None:
    parent = message.last("traceparent") if spec.propagate == "w3c" else None
    if parent is None or _TRACE_PARENT.fullmatch(parent) is None:
        return None
    trace: JsonObject = {"traceparent": parent}
    state = message.last("tracestate")
    if state and len(state) <= _LONGEST_STATE:
        trace["tracestate"] = state
    members = (message.last("baggage") or "").split(",") if spec.baggage_allowlist else ()
    allowed = [
        member.strip()
        for member in members
        if member.partition("=")[0].strip() in spec.baggage_allowlist
    ]
    if allowed:
        trace["baggage"] = ",".join(allowed)[:_LONGEST_STATE]
    return trace
