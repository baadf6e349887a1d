"""Starts: everything is rendered before the first row (R9)."""

from collections.abc import Iterable
from dataclasses import asdict

from noetl_contract.events import EventType, format_time
from noetl_contract.ingress import ExecuteMessage
from noetl_contract.json import Json

from noetl_engine.commands.build import BuiltCommand, LoopElement, build_command
from noetl_engine.commands.collection import type_word
from noetl_engine.commands.rendering import render_collection
from noetl_engine.decide.draft import PLAYBOOK_NODE, Draft
from noetl_engine.decide.route import limit_of, most_open, route_completion
from noetl_engine.errors import EvaluateError, StartRefused
from noetl_engine.outputs import Answer
from noetl_engine.playbook.model import START_STEP, Loop, LoopMode
from noetl_engine.state.context import scope_of, start_flat
from noetl_engine.state.model import TakeOver

_NOT_AN_ARRAY = "start step loop.in must resolve to a JSON array, got: {word}"


def decide_start(draft: Draft, message: ExecuteMessage) -> None:
    """Begin an execution; the same start again gets the same answer.

    Raises:
        StartRefused: The start step can't be rendered.
    """
    if not draft.state.start_event_id:
        begin(draft, message, {**draft.playbook.workload, **message.payload})
    started_answer(draft)


def started_answer(draft: Draft) -> None:
    """Answer that the execution has begun."""
    draft.decision.answer = Answer(
        body={
            "execution_id": str(draft.state.execution_id),
            "status": "started",
            "commands_generated": draft.state.start_commands,
        }
    )


def begin(
    draft: Draft,
    message: ExecuteMessage,
    workload: dict[str, Json],
    *,
    take_over: TakeOver | None = None,
    meta: Json = None,
) -> None:
    """Begin an execution; with something to take over, the start is entered and not issued.

    Args:
        draft: That of a new execution.
        message: Its start.
        workload: Its workload.
        take_over: What a restarted execution takes over.
        meta: What the first row says of that.

    Raises:
        StartRefused: The start step can't be rendered.
    """
    flat = start_flat(
        workload,
        execution_id=message.execution_id,
        catalog_id=message.catalog_id,
        path=message.path,
    )
    step = draft.playbook.start
    try:
        if step.loop is None and take_over is not None:
            _append_started(draft, message, workload, generated=1, take_over=take_over, meta=meta)
            _enter_start(draft, note={"queued": True})
        elif step.loop is None:
            command = build_command(step, flat)
            _append_started(draft, message, workload, generated=1)
            draft.issue(command)
        elif take_over is not None:
            elements, limit = _open_loop(draft, flat, step.loop)
            generated = len(elements)
            _append_started(
                draft, message, workload, generated=generated, take_over=take_over, meta=meta
            )
            _enter_loop(draft, step.loop, elements, limit)
        else:
            _begin_loop(draft, message, workload, flat, step.loop)
    except EvaluateError as error:
        raise StartRefused(422, str(error)) from error


def _begin_loop(
    draft: Draft,
    message: ExecuteMessage,
    workload: dict[str, Json],
    flat: dict[str, Json],
    loop: Loop,
) -> None:
    step = draft.playbook.start
    elements, limit = _open_loop(draft, flat, loop)
    total = len(elements)
    count = total if limit is None else min(limit, total)
    count = min(count, draft.room(flat, wanted=count))
    commands: list[BuiltCommand] = []
    for index in range(count):
        if draft.has_worked_enough:
            break
        element = LoopElement(loop, index, total, elements[index])
        commands.append(build_command(step, flat, element))
    _append_started(draft, message, workload, generated=total)
    _enter_loop(draft, loop, elements, limit, commands)


def _open_loop(draft: Draft, flat: dict[str, Json], loop: Loop) -> tuple[list[Json], int | None]:
    scope = scope_of(flat)
    elements = _elements(loop, scope)
    most = most_open(draft.playbook.start, draft.facts.limits)
    return elements, limit_of(loop, scope, total=len(elements), most=most)


def _enter_loop(
    draft: Draft,
    loop: Loop,
    elements: list[Json],
    limit: int | None,
    commands: Iterable[BuiltCommand] = (),
) -> None:
    context = {"iterations_expected": len(elements), "iterator_var": loop.iterator}
    _enter_start(draft, context, note={"collection": elements, "limit": limit})
    for command in commands:
        draft.issue(command)
    if not elements:
        draft.append(draft.engine_row(EventType.STEP_EXIT, START_STEP, "COMPLETED"))
        route_completion(draft, START_STEP)
    started = draft.state.step(START_STEP).loop
    if started is not None and started.may_issue:
        draft.decision.continue_later = True


def _enter_start(draft: Draft, context: Json = None, *, note: Json) -> None:
    meta = {"emitted_by": "execute_handler"}
    draft.append(
        draft.engine_row(EventType.STEP_ENTER, START_STEP, "ENTERED", context, meta=meta, note=note)
    )


def _elements(loop: Loop, scope: dict[str, Json]) -> list[Json]:
    if loop.mode is LoopMode.CURSOR or loop.collection is None:
        raise EvaluateError(_NOT_AN_ARRAY.format(word="null"))
    rendered = render_collection(loop.collection, scope)
    if not isinstance(rendered, list):
        raise EvaluateError(_NOT_AN_ARRAY.format(word=type_word(rendered)))
    return rendered


def _append_started(
    draft: Draft,
    message: ExecuteMessage,
    workload: dict[str, Json],
    *,
    generated: int,
    take_over: TakeOver | None = None,
    meta: Json = None,
) -> None:
    note: dict[str, Json] = {"version": message.version, "commands": generated}
    limits = (draft.playbook.timeout_seconds, message.timeout_seconds)
    if message.plugins:
        note["plugins"] = message.plugins
    note |= draft.begin_deadline(min((one for one in limits if one is not None), default=None))
    context: dict[str, Json] = {
        "catalog_id": str(message.catalog_id),
        "execution_id": str(message.execution_id),
        "path": message.path,
        "workload": workload,
    }
    if take_over is not None:
        note["restart"] = asdict(take_over)
        if take_over.input:
            context["input"] = take_over.input  # masked in answers like the workload
    meta = {
        **(meta or {}),
        "emitted_at": format_time(draft.facts.now),
        "emitter": "control_plane",
    }
    if message.execution_pool:
        meta["execution_pool"] = message.execution_pool
    if message.trace is not None:
        meta["trace"] = message.trace
    for name in ("owner", "actor", "namespace"):
        value = getattr(message, name)
        if value is not None:
            meta[name] = value
    if message.after is not None:
        meta["after"] = {
            **message.after.plain(),
            "is_trigger": message.after.is_trigger,
            "execution_id": str(message.after.execution_id),
        }
    if message.root_execution_id is not None:
        meta["root_execution_id"] = str(message.root_execution_id)
        meta["depth"] = message.depth
    row = draft.row(
        EventType.PLAYBOOK_STARTED,
        message.path,
        "STARTED",
        catalog_id=message.catalog_id,
        node_id=PLAYBOOK_NODE,
        node_type="execution",
        parent_execution_id=message.parent_execution_id,
        context=context,
        meta=meta,
        note=note,
    )
    draft.append(row)
    draft.trigger = row.event_id
