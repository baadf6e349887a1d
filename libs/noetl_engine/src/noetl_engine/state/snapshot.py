"""Snapshots: a state as bytes, and back."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from operator import attrgetter

import orjson
from noetl_contract.events import ExecutionStatus
from noetl_contract.failures.cause import Cause, cause_of
from noetl_contract.json import Json

from noetl_engine.outputs import Progress
from noetl_engine.state.identity import micros, moment_of
from noetl_engine.state.model import (
    Arrival,
    CommandState,
    Given,
    LoopState,
    Phase,
    Queued,
    ResultRef,
    State,
    StepState,
    TakeOver,
)
from noetl_engine.state.waiting import KeptSignal, Wait

SNAPSHOT_FORMAT = 4

_EXECUTION = attrgetter(*(field.name for field in fields(State)[:13]))
"""From the id to the error; later fields have a place of their own."""
_FIELDS: Mapping[type, Callable[[object], Json]] = {
    record: attrgetter(*(field.name for field in fields(record)))
    for record in (
        StepState, LoopState, Queued, ResultRef, Arrival, CommandState, Wait, KeptSignal, Progress,
    )
}  # fmt: skip
_MOMENTS = ("issued_at", "claimed_at", "started_at", "heard_at")


def dump_state(state: State) -> bytes:
    """Write a state as a snapshot."""
    return orjson.dumps(
        {
            "format": SNAPSHOT_FORMAT,
            "execution": _EXECUTION(state),
            "steps": list(state.steps.values()),
            "running": list(state.running),
            "waiting": list(state.waiting),
            "failed": state.failed,
            "commands": list(state.commands.values()),
            "variables": state.variables,
            "recent": list(state.recent.items()),
            "renamed": state.renamed,
            "progress": state.progress,
            **({} if state.deadline is None else {"deadline": state.deadline}),
            **({"end": state.end} if state.end else {}),
            **({} if state.given is None else {"given": state.given.dump()}),
            **({} if state.pause is None else {"pause": state.pause}),
            "signals": state.signals,
            "causes": {name: _cause(cause) for name, cause in state.causes.items()},
            "handles": state.handles,
            "soft": None if state.soft is None else _cause(state.soft),
            "answered": [(number, _cause(cause)) for number, cause in state.answered.items()],
            **({"plugins": state.plugins} if state.plugins else {}),
            **({} if state.take_over is None else {"take_over": asdict(state.take_over)}),
        },
        default=_plain,
        option=orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME,
    )


def _cause(cause: Cause) -> Json:
    return cause.model_dump(exclude_none=True)


def _plain(value: object) -> Json:
    """Return a record as its fields in their order, a moment as a number."""
    return micros(value) if isinstance(value, datetime) else _FIELDS[type(value)](value)


def load_state(snapshot: bytes) -> State:
    """Read a snapshot.

    Raises:
        ValueError: It is of another format; replay the whole log instead.
    """
    data = orjson.loads(snapshot)
    if data.get("format") != SNAPSHOT_FORMAT:
        raise ValueError(f"snapshot format {data.get('format')} is not {SNAPSHOT_FORMAT}")
    (execution_id, position, status, *rest) = data["execution"]
    state = State(execution_id, position, ExecutionStatus(status), *rest)
    state.steps = {values[0]: _load_step(values) for values in data["steps"]}
    state.running = dict.fromkeys(data["running"])
    state.waiting = dict.fromkeys(data["waiting"])
    state.failed = data["failed"]
    state.commands = {values[0]: _load_command(values) for values in data["commands"]}
    state.variables = {name: (at, key) for name, (at, key) in data["variables"].items()}
    state.recent = dict(data["recent"])
    state.renamed = data["renamed"]
    state.progress = Progress(*data["progress"])
    state.end = data.get("end", 0)
    state.given = Given.load(data["given"]) if "given" in data else None
    state.pause = data.get("pause")
    deadline = data.get("deadline")
    state.deadline = None if deadline is None else (deadline[0], deadline[1])
    state.signals = [KeptSignal(*signal) for signal in data["signals"]]
    causes = data["causes"].items()
    state.causes = {name: cause for name, one in causes if (cause := cause_of(one))}
    state.handles = data["handles"]
    state.soft = cause_of(data["soft"])
    state.answered = {number: cause for number, one in data["answered"] if (cause := cause_of(one))}
    state.plugins = data.get("plugins", {})
    if "take_over" in data:
        state.take_over = TakeOver(**data["take_over"])
    return state


def _load_step(values: list[Json]) -> StepState:
    name, phase, runs, outcome, opened, command, loop, result, arrivals, error, queued = values
    step = StepState(name, Phase(phase), runs, Phase(outcome), opened, command)
    if loop is not None:
        entered, total, limit, issued, finished, lost, own, *rest = loop
        step.loop = LoopState(entered, total, limit, issued, finished, lost, tuple(own), *rest)
    if result is not None:
        kind, first, last, total, bare = result
        step.result = ResultRef(kind, first, last, total, tuple(bare))
    step.arrivals = tuple(Arrival(*arrival) for arrival in arrivals)
    step.error = error
    if queued is not None:
        step.queued = Queued(queued[0], tuple(queued[1]))
    return step


def _load_command(values: list[Json]) -> CommandState:
    command = CommandState(*values)
    for name in _MOMENTS:
        number = getattr(command, name)
        if number is not None:
            setattr(command, name, moment_of(number))
    if values[-1] is not None:
        kind, signal, due, *rest = values[-1]
        command.wait = Wait(kind, signal, moment_of(due), *rest)
    return command
