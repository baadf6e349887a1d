"""Loops: start the next iteration when one ends, and large loops in parts (R10, W9)."""

from noetl_contract.json import Json

from noetl_engine.commands.build import BuiltCommand, LoopElement, build_claim, build_command
from noetl_engine.decide.draft import Draft
from noetl_engine.decide.ends.terminal import fail_execution
from noetl_engine.decide.route import (
    route_completion,
    route_drained,
    route_failure,
)
from noetl_engine.errors import EvaluateError, evaluating
from noetl_engine.outputs import NeedResults
from noetl_engine.playbook.model import Step
from noetl_engine.state.context import Flat
from noetl_engine.state.model import CommandState, LoopState, Phase, Queued
from noetl_engine.state.results import tool_data


def after_iteration(draft: Draft, command: CommandState, *, failed: bool) -> None:
    """Go on after an iteration: route, fail, or issue the next one."""
    name = command.step
    step = draft.state.step(name)
    loop = step.loop
    if loop is None:
        if step.phase is Phase.COMPLETED:
            route_completion(draft, name)
        else:
            route_failure(draft, name, step.error or "", ended=True)
    elif failed:
        route_failure(draft, name, step.error or "", ended=False)
    elif loop.may_issue:
        if loop.limit == 1:
            _publish(draft, command, loop)
        _issue(draft, name, loop, most=1)
    elif loop.frame is not None and not loop.in_flight:
        _end_frame(draft, name, loop)


def _publish(draft: Draft, command: CommandState, loop: LoopState) -> None:
    """Make an iteration's variables durable, for the iteration that waited for it."""
    if command.index is None or command.call is None:
        return
    sources = draft.memory.values.set_by_iteration(loop.run_at, command.index, command.call)
    if sources:
        draft.apply(["variables", sources])


def after_claim(draft: Draft, command: CommandState, *, failed: bool, error: bool) -> None:
    """Work on the rows that a cursor's claim has brought, or end the loop.

    Args:
        draft: Its trigger is the end of the claim.
        command: The claim.
        failed: Whether it failed hard.
        error: Whether it ended with a soft error, which drains the cursor like no rows.
    """
    name = command.step
    step = draft.state.step(name)
    loop = step.loop
    if failed or loop is None or loop.frame is None:
        route_failure(draft, name, step.error or "", ended=True)
        return
    try:
        rows = [] if error or command.call is None else _rows_of(draft, name, command.call)
    except EvaluateError as problem:
        fail_execution(draft, problem.at(name, "loop.cursor"))
        return
    if not rows or command.call is None:
        route_drained(draft, name, loop.frame)
        return
    draft.apply(["frame", name, command.call, len(rows)])
    _issue(draft, name, loop)
    if loop.may_issue and not draft.state.ended:
        draft.decision.continue_later = True


def _rows_of(draft: Draft, name: str, position: int) -> list[Json]:
    """Return the rows in a claim's result; anything that isn't a list of rows is none.

    Raises:
        EvaluateError: They went to the result store; skipping them would lose claimed rows.
    """
    data = tool_data(draft.memory.values.rows[position])
    if isinstance(data, dict) and "_ref" in data:
        raise EvaluateError(
            f"the claim of step '{name}' brought more than an event holds; "
            "lower loop.spec.frame.max_rows"
        )
    rows = data.get("rows") if isinstance(data, dict) else None
    return rows if isinstance(rows, list) else []


def _end_frame(draft: Draft, name: str, loop: LoopState) -> None:
    """Make the variables of a frame's bodies durable, in row order, and claim the next frame."""
    if draft.state.paused:
        return
    sources = draft.memory.values.end_frame(loop.rows_at)
    if sources:
        draft.apply(["variables", sources])
    if draft.is_taking_over:
        draft.apply(["claim", name, (loop.frame or 0) + 1, list(loop.own)])
        return
    try:
        draft.refuse_endless()
        flat = {**_on_top(draft, loop), **draft.memory.given_to(name)}
        with evaluating(name, "loop.cursor.claim"):
            claim = build_claim(_step(draft, name), flat, (loop.frame or 0) + 1)
    except EvaluateError as error:
        fail_execution(draft, error)
        return
    draft.issue(claim)


def continue_loops(draft: Draft) -> None:
    """Issue the next part of a fan-out: of branches first, then of loops (W9)."""
    draft.trigger = draft.state.start_event_id
    if not draft.state.ended:
        _issue_queued(draft)
    for name in list(draft.state.running):
        step = draft.state.step(name)
        loop = step.loop
        if loop is None or draft.state.ended:
            continue
        if loop.rows_at and not (step.open or step.queued) and loop.finished >= loop.total:
            _end_frame(draft, name, loop)  # it ended in a pause
            continue
        if not loop.may_issue:
            continue
        if not draft.issued:
            _issue(draft, name, loop)
        if loop.may_issue and not draft.state.ended:
            draft.decision.continue_later = True


def _issue_queued(draft: Draft) -> None:
    """Issue the commands of steps that are entered already, as many as there is room for."""
    built: list[BuiltCommand] = []
    try:
        for name in draft.state.running:
            queued = draft.state.step(name).queued
            if queued is None:
                continue
            flat = _on_top(draft, queued)
            room = draft.room(flat, wanted=len(built) + 1)
            if len(built) >= room or draft.is_full(built):
                draft.decision.continue_later = True
                break
            with evaluating(name, "tool"):
                built.append(_build_queued(draft, name, flat))
    except EvaluateError as error:
        draft.decision.continue_later = False
        fail_execution(draft, error)
        return
    for command in built:
        draft.issue(command)


def _build_queued(draft: Draft, name: str, flat: Flat) -> BuiltCommand:
    step = draft.playbook.steps.get(name)
    if step is None:
        raise EvaluateError(f"the playbook has no step '{name}'")
    given = draft.memory.given_to(name)
    if step.loop is not None:
        loop = draft.state.step(name).loop
        return build_claim(step, {**flat, **given}, (loop and loop.frame) or 0)
    walked = draft.memory.contexts.walked
    results = _plain_results(draft, flat)
    return build_command(step, flat, results=results, walked=walked, given=given)


def _issue(draft: Draft, name: str, loop: LoopState, *, most: int | None = None) -> None:
    """Issue as many iterations as the loop's limit and the decision's room allow."""
    if draft.state.paused:
        return
    if draft.is_taking_over:
        return
    count = loop.total - loop.issued
    if loop.limit is not None:
        count = min(count, loop.limit - loop.in_flight)
    try:
        draft.refuse_endless()
        flat = _on_top(draft, loop)
        count = min(count, draft.room(flat, wanted=count) if most is None else most)
        with evaluating(name, "tool"):
            built = _build(draft, _step(draft, name), loop, flat, count)
    except EvaluateError as error:
        fail_execution(draft, error)
        return
    for command in built:
        draft.issue(command)


def _step(draft: Draft, name: str) -> Step:
    step = draft.playbook.steps.get(name)
    if step is None or step.loop is None:
        raise EvaluateError(f"the playbook has no loop '{name}'")
    return step


def _on_top(draft: Draft, entry: LoopState | Queued) -> Flat:
    """Return the present context under the values given to the step when it was entered."""
    values = draft.memory.values.rows
    flat = draft.memory.contexts.flat()
    own: dict[str, Json] = dict(values[entry.entered].get("args") or {})
    for position in entry.own:
        own.update(values[position])
    return {**flat, **own} if own else flat


def _plain_results(draft: Draft, flat: Flat) -> list[str]:
    """Return the names in a context that are results of steps and nothing else."""
    # One that an arc laid on top is no plain result, but then it isn't the same object either.
    plain = draft.memory.contexts.flat()
    return [name for name in draft.memory.contexts.results() if flat.get(name) is plain.get(name)]


def _build(draft: Draft, step: Step, loop: LoopState, flat: Flat, count: int) -> list[BuiltCommand]:
    if step.loop is None:
        return []
    if loop.frame is None:
        elements = draft.memory.values.rows[loop.entered]["collection"]
    else:
        elements = _rows_of(draft, step.name, loop.rows_at)
    results = _plain_results(draft, flat)
    built: list[BuiltCommand] = []
    for index in loop.next_iterations(count):
        if draft.is_full(built):
            break
        value = draft.memory.values.stored.element(elements[index])
        element = LoopElement(step.loop, index, loop.total, value)
        walked = draft.memory.contexts.walked
        given = draft.memory.given_to(step.name, index)
        try:
            command = build_command(
                step, flat, element, results=results, walked=walked, frame=loop.frame, given=given
            )
        except NeedResults:
            if not built:
                raise
            break  # the next decision reads for those that are left
        built.append(command)
    return built
