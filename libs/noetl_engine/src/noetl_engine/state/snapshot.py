"""Snapshots: a state as bytes, and back."""

from datetime import datetime

import orjson
from noetl_contract.events import ExecutionStatus
from noetl_contract.json import Json

from noetl_engine.outputs import Progress
from noetl_engine.state.identity import micros, moment_of
from noetl_engine.state.model import (
    Arrival,
    CommandState,
    LoopState,
    Phase,
    Queued,
    ResultRef,
    State,
    StepState,
)

SNAPSHOT_FORMAT = 3


def _to_number(moment: datetime | None) -> int | None:
    return None if moment is None else micros(moment)


def _to_moment(number: int | None) -> datetime | None:
    return None if number is None else moment_of(number)


def dump_state(state: State) -> bytes:
    """Write a state as a snapshot."""
    progress = state.progress
    return orjson.dumps(
        {
            "format": SNAPSHOT_FORMAT,
            "execution": [
                state.execution_id, state.position, state.status, state.catalog_id, state.path,
                state.version, state.parent_execution_id, state.pool, state.trace,
                state.start_event_id, state.start_commands, state.workload, state.error,
            ],
            "steps": [_dump_step(step) for step in state.steps.values()],
            "running": list(state.running),
            "waiting": list(state.waiting),
            "failed": state.failed,
            "commands": [_dump_command(command) for command in state.commands.values()],
            "variables": state.variables,
            "recent": list(state.recent.items()),
            "renamed": state.renamed,
            "progress": [
                progress.total_steps, progress.completed_steps, progress.running_steps,
                progress.failed_steps, progress.soft_errors, progress.current_step,
            ],
        }
    )  # fmt: skip


def _dump_step(step: StepState) -> list[Json]:
    loop, result = step.loop, step.result
    return [
        step.name, step.phase, step.runs, step.outcome, step.open, step.command,
        None if loop is None else [
            loop.entered, loop.total, loop.limit, loop.issued, loop.finished, loop.failed,
            loop.own, loop.bare, loop.frame, loop.rows_at,
        ],
        None if result is None else [
            result.kind, result.first, result.last, result.total, result.bare,
        ],
        [[arrival.source, arrival.arc, arrival.set_position] for arrival in step.arrivals],
        step.error,
        None if step.queued is None else [step.queued.entered, step.queued.own],
    ]  # fmt: skip


def _dump_command(command: CommandState) -> list[Json]:
    return [
        command.event_id, command.command_id, command.step, command.issued,
        _to_number(command.issued_at), command.index, command.timeout_seconds,
        command.worker_id, command.instance, command.attempts, command.holds,
        _to_number(command.claimed_at), _to_number(command.started_at),
        _to_number(command.heard_at), command.call, command.error, command.claims,
        command.awaits, command.parks, command.callback_seconds, command.parked, command.callback,
    ]  # fmt: skip


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
    state.steps = {fields[0]: _load_step(fields) for fields in data["steps"]}
    state.running = dict.fromkeys(data["running"])
    state.waiting = dict.fromkeys(data["waiting"])
    state.failed = data["failed"]
    state.commands = {fields[0]: _load_command(fields) for fields in data["commands"]}
    state.variables = {name: (at, key) for name, (at, key) in data["variables"].items()}
    state.recent = dict(data["recent"])
    state.renamed = data["renamed"]
    state.progress = Progress(*data["progress"])
    return state


def _load_step(fields: list[Json]) -> StepState:
    name, phase, runs, outcome, opened, command, loop, result, arrivals, error, queued = fields
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


def _load_command(fields: list[Json]) -> CommandState:
    command = CommandState(*fields)
    command.issued_at = moment_of(fields[4])
    command.claimed_at = _to_moment(fields[11])
    command.started_at = _to_moment(fields[12])
    command.heard_at = _to_moment(fields[13])
    return command
