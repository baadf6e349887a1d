"""Labels of a container that only an engine's have: all that a report of its end needs."""

from typing import Final

from noetl_contract.json import Json, JsonObject

from noetl_worker.tools.containers.plan import (
    EVENT_LABEL,
    EXECUTION_LABEL,
    POOL_LABEL,
    WORKER_LABEL,
    Origin,
    Plan,
)

DEADLINE_LABEL: Final = "noetl.seconds"
TTL_LABEL: Final = "noetl.ttl-seconds"
_COMMAND_LABEL: Final = "noetl.command-id"
_STEP_LABEL: Final = "noetl.step"
_CALLBACK_LABEL: Final = "noetl.callback"
_HIDDEN_LABEL: Final = "noetl.hidden"


def labels_of(plan: Plan) -> dict[str, str]:
    """Return all labels; to read them takes access to the engine's socket."""
    return {
        **plan.labels(),
        DEADLINE_LABEL: str(plan.timeout_seconds),
        TTL_LABEL: str(plan.ttl_seconds),
        _COMMAND_LABEL: plan.origin.command_id,
        _STEP_LABEL: plan.origin.step,
        _CALLBACK_LABEL: plan.origin.callback,
        _HIDDEN_LABEL: ",".join(plan.hidden),
    }


def labels_in(shown: JsonObject) -> JsonObject:
    """Return the labels of an inspected container."""
    config = shown.get("Config")
    labels = config.get("Labels") if isinstance(config, dict) else None
    return labels if isinstance(labels, dict) else {}


def origin_of(labels: JsonObject) -> Origin | None:
    """Return the command that a container was started for; None if the labels don't name it."""
    if not all(labels.get(name) for name in (_COMMAND_LABEL, _STEP_LABEL, _CALLBACK_LABEL)):
        return None
    return Origin(
        execution_id=whole_in(labels.get(EXECUTION_LABEL)),
        event_id=whole_in(labels.get(EVENT_LABEL)),
        command_id=str(labels[_COMMAND_LABEL]),
        step=str(labels[_STEP_LABEL]),
        callback=str(labels[_CALLBACK_LABEL]),
        pool=str(labels.get(POOL_LABEL, "")),
        worker=str(labels.get(WORKER_LABEL, "")),
    )


def hidden_values(shown: JsonObject, labels: JsonObject) -> list[str]:
    """Return the values of the variables that are masked in the output."""
    names = set(str(labels.get(_HIDDEN_LABEL, "")).split(","))
    config = shown.get("Config")
    env = config.get("Env") if isinstance(config, dict) else None
    pairs = (str(one).partition("=") for one in (env if isinstance(env, list) else ()))
    return [value for name, _, value in pairs if name in names]


def number_in(text: Json, default: float) -> float:
    """Return a label's number."""
    try:
        return float(text) if isinstance(text, str | int | float) else default
    except ValueError:
        return default


def whole_in(text: Json) -> int:
    """Return a label's id; 0 for anything else."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else 0
