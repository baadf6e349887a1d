"""Loops: the next iteration when one ends, a part of a large fan-out at a time (R10, W9)."""

from typing import Any

from noetl_engine.commands import BuiltCommand, Iteration, build_command
from noetl_engine.decide.route import fail_execution, route_completion, route_failure
from noetl_engine.errors import EvaluateError
from noetl_engine.playbook.model import Step
from noetl_engine.state import CommandState, LoopState, Phase
from noetl_engine.turn import Turn

__all__ = ["after_iteration", "continue_loops"]

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
        _issue(turn, name, loop, room=1)


def continue_loops(turn: Turn) -> None:
    """Issue the next part of every loop that has more to issue (W9)."""
    turn.trigger = turn.state.start_event_id
    room = turn.facts.limits.commands_per_decision
    for name in list(turn.state.running):
        loop = turn.state.step(name).loop
        if loop is None or not loop.may_issue or turn.state.ended:
            continue
        if turn.issued < room:
            _issue(turn, name, loop, room=room - turn.issued)
        if loop.may_issue and not turn.state.ended:
            turn.decision.continue_later = True


def _issue(turn: Turn, name: str, loop: LoopState, *, room: int) -> None:
    """Issue as many iterations as the loop's limit and ``room`` allow."""
    count = min(room, loop.total - loop.issued)
    if loop.limit is not None:
        count = min(count, loop.limit - loop.in_flight)
    try:
        built = _build(turn, turn.playbook.steps.get(name), loop, count)
    except EvaluateError as error:
        fail_execution(turn, error)
        return
    for command in built:
        turn.issue(command)


def _build(turn: Turn, step: Step | None, loop: LoopState, count: int) -> list[BuiltCommand]:
    if step is None or step.loop is None:
        raise EvaluateError("the playbook has no such loop")
    values = turn.memory.values.rows
    note = values[loop.entered]
    flat = turn.memory.contexts.flat()
    own: dict[str, Json] = dict(note.get("args") or {})
    for position in loop.own:
        own.update(values[position])
    if own:
        flat = {**flat, **own}
    elements = note["collection"]
    return [
        build_command(step, flat, Iteration(step.loop, index, loop.total, elements[index]))
        for index in range(loop.issued, loop.issued + count)
    ]
