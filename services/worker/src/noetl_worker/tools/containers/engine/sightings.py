"""Sightings of containers in the answers of an engine."""

from datetime import datetime
from time import time

from noetl_contract.http.system.internal import JobState
from noetl_contract.json import Json, JsonObject

from noetl_worker.tools.containers.backend import Condition, Ending, Sighting
from noetl_worker.tools.containers.engine.labels import (
    DEADLINE_LABEL,
    TTL_LABEL,
    number_in,
    whole_in,
)
from noetl_worker.tools.containers.plan import EVENT_LABEL, WORKER_LABEL, Origin

REPORTED = "-reported"
"""Ending of the name of a container whose end the control plane knows."""
ENDED = frozenset({"exited", "dead", "stopped"})
_KILLED = frozenset({137, 143})
_LITTLE_SECONDS = 0.5


def sighting_in(event: JsonObject) -> Sighting | None:
    """Return the sighting in an event; None for others than starts and ends."""
    actor = event.get("Actor")
    attributes = actor.get("Attributes") if isinstance(actor, dict) else None
    if not isinstance(attributes, dict):
        return None
    # `time` has whole seconds: a deadline that counts from it may be a second early.
    precise, at = event.get("timeNano"), event.get("time")
    if isinstance(precise, int):
        at = precise / 1e9
    at = float(at) if isinstance(at, int | float) else time()
    match event.get("Action") or event.get("status"):
        case "start":
            condition = Condition.RUNNING
        case "die" | "died":
            condition = Condition.ENDED
        case "destroy" | "remove":
            condition = Condition.GONE
        case _:
            return None
    return _sighting(str(attributes.get("name", "")), attributes, condition, at)


def listed(one: JsonObject) -> Sighting:
    """Return the sighting of a container in a list."""
    name, created = name_in(one), one.get("Created")
    # In whole seconds, and here rather late than early.
    at = float(created) + 1 if isinstance(created, int | float) else 0.0
    condition = Condition.RUNNING
    if name.endswith(REPORTED):
        condition = Condition.REPORTED
    elif one.get("State") in ENDED:
        condition = Condition.ENDED
    labels = one.get("Labels")
    return _sighting(name, labels if isinstance(labels, dict) else {}, condition, at)


def _sighting(name: str, labels: JsonObject, condition: Condition, at: float) -> Sighting:
    deadline = remove_at = None
    if condition is Condition.RUNNING:
        deadline = at + number_in(labels.get(DEADLINE_LABEL), 21_600.0)
    if condition is Condition.REPORTED:
        # From when it is first seen so: a list doesn't say when a container has ended.
        remove_at = time() + number_in(labels.get(TTL_LABEL), 0.0)
    return Sighting(
        name=name.removesuffix(REPORTED),
        condition=condition,
        event_id=whole_in(labels.get(EVENT_LABEL)),
        worker=str(labels.get(WORKER_LABEL, "")),
        at=at,
        deadline=deadline,
        remove_at=remove_at,
    )


def ended(
    name: str, state: JsonObject, labels: JsonObject, origin: Origin, *, created: Json = None
) -> Ending:
    """Return how a container ended, as far as its state shows.

    Its deadline counts from its creation where it was found in a list.
    """
    code = state.get("ExitCode")
    code = code if isinstance(code, int) else None
    began, over = _moment(state.get("StartedAt")), _moment(state.get("FinishedAt"))
    seconds = number_in(labels.get(DEADLINE_LABEL), 0)
    since = _moment(created) or began
    took = 0.0 if since is None or over is None else (over - since).total_seconds()
    state_word, reason = _judged(
        state, code, is_late=bool(seconds) and took >= seconds - _LITTLE_SECONDS
    )
    return Ending(
        name=name,
        origin=origin,
        state=state_word,
        exit_code=code,
        reason=reason,
        started_at=began,
        completed_at=over,
        ttl_seconds=number_in(labels.get(TTL_LABEL), 0),
    )


def _judged(state: JsonObject, code: int | None, *, is_late: bool) -> tuple[JobState, str | None]:
    if code == 0:
        return "succeeded", None
    if state.get("OOMKilled") is True:
        return "failed_oom", "it used more memory than its limit"
    if code in _KILLED and is_late:
        return "failed_timeout", "it was ended when its time was over"
    text = state.get("Error")
    return "failed", text if isinstance(text, str) and text else f"exit code {code}"


def _moment(text: Json) -> datetime | None:
    """Return a time of the engine, which has nanoseconds; its zero is none."""
    if not isinstance(text, str) or text.startswith("0001"):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def name_in(one: JsonObject) -> str:
    """Return the name of a container in a list."""
    names = one.get("Names")
    first = names[0] if isinstance(names, list) and names else ""
    return str(first).lstrip("/")
