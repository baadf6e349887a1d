"""Loops: the next iteration when one ends, a part of a large fan-out at a time (R10, W9)."""

from typing import Any

from noetl_engine.commands import BuiltCommand, Iteration, build_claim, build_command
from noetl_engine.context import Flat
from noetl_engine.decide.route import (
    fail_execution,
    route_completion,
    route_drained,
    route_failure,
)
from noetl_engine.errors import EvaluateError
from noetl_engine.playbook.model import Step
from noetl_engine.state import CommandState, LoopState, Phase, Queued
from noetl_engine.turn import Turn
from noetl_engine.values import tool_data

__all__ = ["after_claim", "after_iteration", "continue_loops"]

type Json = Any


def after_iteration(turn: Turn, command: CommandState, *, failed: bool) -> None:
    """Go on after an iteration: route, fail, or issue the next one."""
    name = command.step
    step = turn.state.step(name)
    loop = step.loop
    if loop is None:
        if step.phase is Phase.COMPLETED:
            route_completion(turn, name)
        else:
            route_failure(turn, name, step.error or "", ended=True)
    elif failed:
        route_failure(turn, name, step.error or "", ended=False)
    elif loop.may_issue:
        if loop.limit == 1:
            _publish(turn, command, loop)
        _issue(turn, name, loop, most=1)
    elif loop.frame is not None and not loop.in_flight:
        _end_frame(turn, name, loop)


def _publish(turn: Turn, command: CommandState, loop: LoopState) -> None:
    """Make durable what an iteration set, for the one that waited for its end."""
    if command.index is None or command.call is None:
        return
    sources = turn.memory.values.set_by_iteration(loop.run_at, command.index, command.call)
    if sources:
        turn.apply(["variables", sources])


def after_claim(turn: Turn, command: CommandState, *, failed: bool, error: bool) -> None:
    """Work on the rows that a cursor's claim has brought, or end the loop (engine 11.3).

    Args:
        turn: Its trigger is the end of the claim.
        command: The claim.
        failed: Whether it failed hard.
        error: Whether it ended with a soft error, which drains the cursor like no rows.
    """
    name = command.step
    step = turn.state.step(name)
    loop = step.loop
    if failed or loop is None or loop.frame is None:
        route_failure(turn, name, step.error or "", ended=True)
        return
    try:
        rows = [] if error or command.call is None else _rows_of(turn, name, command.call)
    except EvaluateError as problem:
        fail_execution(turn, problem)
        return
    if not rows or command.call is None:
        route_drained(turn, name, loop.frame)
        return
    turn.apply(["frame", name, command.call, len(rows)])
    _issue(turn, name, loop)
    if loop.may_issue and not turn.state.ended:
        turn.decision.continue_later = True


def _rows_of(turn: Turn, name: str, position: int) -> list[Json]:
    """The rows in a claim's result; anything that isn't a list of rows is none.

    Raises:
        EvaluateError: They went to the result store; skipping them would lose claimed rows.
    """
    data = tool_data(turn.memory.values.rows[position])
    if isinstance(data, dict) and "_ref" in data:
        raise EvaluateError(
            f"the claim of step '{name}' brought more than an event holds; "
            "lower loop.spec.frame.max_rows"
        )
    rows = data.get("rows") if isinstance(data, dict) else None
    return rows if isinstance(rows, list) else []


def _end_frame(turn: Turn, name: str, loop: LoopState) -> None:
    """Make durable what the frame's bodies set, in row order, and claim the next frame."""
    sources = turn.memory.values.end_frame(loop.rows_at)
    if sources:
        turn.apply(["variables", sources])
    try:
        flat = _on_top(turn, loop)
        claim = build_claim(_step(turn, name), flat, (loop.frame or 0) + 1)
    except EvaluateError as error:
        fail_execution(turn, error)
        return
    turn.issue(claim)


def continue_loops(turn: Turn) -> None:
    """Issue the next part of a fan-out: of branches first, then of loops (W9)."""
    turn.trigger = turn.state.start_event_id
    if not turn.state.ended:
        _issue_queued(turn)
    for name in list(turn.state.running):
        loop = turn.state.step(name).loop
        if loop is None or not loop.may_issue or turn.state.ended:
            continue
        if not turn.issued:
            _issue(turn, name, loop)
        if loop.may_issue and not turn.state.ended:
            turn.decision.continue_later = True


def _issue_queued(turn: Turn) -> None:
    """Issue the commands of steps that are entered already, as many as there is room for."""
    built: list[BuiltCommand] = []
    try:
        for name in turn.state.running:
            queued = turn.state.step(name).queued
            if queued is None:
                continue
            flat = _on_top(turn, queued)
            if len(built) >= turn.room(flat, wanted=len(built) + 1):
                turn.decision.continue_later = True
                break
            built.append(_build_queued(turn, name, flat))
    except EvaluateError as error:
        turn.decision.continue_later = False
        fail_execution(turn, error)
        return
    for command in built:
        turn.issue(command)


def _build_queued(turn: Turn, name: str, flat: Flat) -> BuiltCommand:
    step = turn.playbook.steps.get(name)
    if step is None:
        raise EvaluateError(f"the playbook has no step '{name}'")
    if step.loop is not None:
        return build_claim(step, flat, 0)
    walked = turn.memory.contexts.walked
    return build_command(step, flat, results=_plain_results(turn, flat), walked=walked)


def _issue(turn: Turn, name: str, loop: LoopState, *, most: int | None = None) -> None:
    """Issue as many iterations as the loop's limit and the decision's room allow."""
    count = loop.total - loop.issued
    if loop.limit is not None:
        count = min(count, loop.limit - loop.in_flight)
    try:
        flat = _on_top(turn, loop)
        count = min(count, turn.room(flat, wanted=count) if most is None else most)
        built = _build(turn, _step(turn, name), loop, flat, count)
    except EvaluateError as error:
        fail_execution(turn, error)
        return
    for command in built:
        turn.issue(command)


def _step(turn: Turn, name: str) -> Step:
    step = turn.playbook.steps.get(name)
    if step is None or step.loop is None:
        raise EvaluateError(f"the playbook has no loop '{name}'")
    return step


def _on_top(turn: Turn, entry: LoopState | Queued) -> Flat:
    """The present context with what lay on top of it when the step was entered."""
    values = turn.memory.values.rows
    flat = turn.memory.contexts.flat()
    own: dict[str, Json] = dict(values[entry.entered].get("args") or {})
    for position in entry.own:
        own.update(values[position])
    return {**flat, **own} if own else flat


def _plain_results(turn: Turn, flat: Flat) -> list[str]:
    """Names in a context that are results of steps and nothing else."""
    # One that an arc laid on top is no plain result, but then it isn't the same object either.
    plain = turn.memory.contexts.flat()
    return [name for name in turn.memory.contexts.results() if flat.get(name) is plain.get(name)]


def _build(turn: Turn, step: Step, loop: LoopState, flat: Flat, count: int) -> list[BuiltCommand]:
    if step.loop is None:
        return []
    if loop.frame is None:
        elements = turn.memory.values.rows[loop.entered]["collection"]
    else:
        elements = _rows_of(turn, step.name, loop.rows_at)
    results = _plain_results(turn, flat)
    return [
        build_command(
            step,
            flat,
            Iteration(step.loop, index, loop.total, elements[index]),
            results=results,
            walked=turn.memory.contexts.walked,
            frame=loop.frame,
        )
        for index in range(loop.issued, loop.issued + count)
    ]
