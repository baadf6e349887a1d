"""Starts of the executions of messages, and the meaning of the answers."""

from dataclasses import dataclass
from typing import Literal

import orjson
from noetl_contract.json import Json, JsonObject
from noetl_contract.subscriptions.directives import Directed, directed
from noetl_contract.subscriptions.document import SubscriptionSpec
from noetl_contract.subscriptions.messages import Message, bounded_key, workload_of

from noetl_worker.subscriptions.control import Control, ControlPlaneAway

type Verdict = Literal["accepted", "later", "refused", "poison"]
"""Accepted: the execution is there. Later: nobody can be started now. Refused: perhaps later, not
for ever. Poison: never."""

_POISON = frozenset({400, 409, 413, 415, 422})
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """Outcome of a start."""

    verdict: Verdict
    reason: str = ""
    is_repetition: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a message.

    Attributes:
        message_id: as the source names it.
        key: what repetitions are known by; None for a message that has nothing of the kind.
        body: of the request.
        directives: what its headers have decided.
        is_redirected: whether they have chosen its playbook.
    """

    message_id: str
    key: str | None
    body: JsonObject
    directives: JsonObject
    is_redirected: bool


def start_of(
    message: Message,
    *,
    identity: str | None,
    spec: SubscriptionSpec,
    path: str,
    subscription_id: int,
) -> Start:
    """Return the start that a message asks for."""
    chosen = directed(message, spec.dispatch, spec.headers)
    key = chosen.idempotency_key or (message.at(spec.dedup.key) if spec.dedup.key else None)
    key = key or identity
    body: JsonObject = {
        "path": chosen.playbook,
        "payload": workload_of(
            message,
            subscription=path,
            source=spec.source,
            payload_from=spec.dispatch.payload_from,
            idempotency_key=chosen.idempotency_key,
            content_type=chosen.content_type,
        ),
        "parent_execution_id": str(subscription_id),
    }
    if chosen.pool is not None:
        body["execution_pool"] = chosen.pool
    if chosen.trace is not None:
        body["trace"] = chosen.trace
    if spec.dedup.enabled and key is not None:
        body["dedup"] = {
            "key": bounded_key(key),
            "window_secs": spec.dedup.window_secs,
            "scope": path[:500],
        }
    return Start(message.id, key, body, chosen.applied, _is_redirected(chosen, spec))


def _is_redirected(chosen: Directed, spec: SubscriptionSpec) -> bool:
    return chosen.playbook != spec.dispatch.playbook


async def start_one(control: Control, start: Start) -> Answer:
    """Start one execution."""
    try:
        body = orjson.dumps(start.body)
    except (TypeError, orjson.JSONEncodeError) as error:
        return Answer("poison", f"the message can't be sent on: {error}")
    try:
        status, answer = await control.post("/api/execute", body)
    except ControlPlaneAway as error:
        return Answer("later", str(error)[:_LONGEST_REASON])
    if 200 <= status < 300 and isinstance(answer, dict) and answer.get("execution_id"):
        return Answer("accepted", is_repetition=answer.get("status") == "duplicate")
    reason = f"HTTP {status}: {_text(answer)}"
    if status in _POISON:
        return Answer("poison", reason)
    # Without its own playbook a subscription waits; one that a header chose is the message's.
    if status == 404 and start.is_redirected:
        return Answer("refused", reason)
    return Answer("later", reason)


async def start_many(control: Control, starts: list[Start]) -> list[Answer | None]:
    """Start many executions with one request; None for a start that has to be made by itself."""
    unknown: list[Answer | None] = [None] * len(starts)
    try:
        body = orjson.dumps({"executions": [start.body for start in starts]})
    except (TypeError, orjson.JSONEncodeError):
        return unknown
    try:
        status, answer = await control.post("/api/execute/batch", body)
    except ControlPlaneAway as error:
        return [Answer("later", str(error)[:_LONGEST_REASON])] * len(starts)
    results = answer.get("results") if isinstance(answer, dict) else None
    if not 200 <= status < 300 or not isinstance(results, list) or len(results) != len(starts):
        return unknown
    return [_result(one) for one in results]


def _result(result: Json) -> Answer | None:
    """Return the certain part of a result of a batch; errors are asked about once more."""
    if not isinstance(result, dict) or result.get("status") not in {"started", "duplicate"}:
        return None
    return Answer("accepted", is_repetition=result["status"] == "duplicate")


def _text(answer: Json) -> str:
    said = answer.get("error") if isinstance(answer, dict) else answer
    return str(said or "")[:_LONGEST_REASON]
