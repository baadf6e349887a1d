"""Starts: everything is rendered before the first row (R9)."""

from noetl_contract.events import EventType, format_time
from noetl_contract.ingress import ExecuteMessage
from noetl_contract.json import Json

from noetl_engine.commands.build import BuiltCommand, LoopElement, build_command
from noetl_engine.commands.collection import type_word
from noetl_engine.commands.rendering import render_collection
from noetl_engine.decide.draft import PLAYBOOK_NODE, Draft
from noetl_engine.decide.route import limit_of, route_completion
from noetl_engine.errors import EvaluateError, StartRefused
from noetl_engine.outputs import Answer
from noetl_engine.playbook.model import START_STEP, Loop, LoopMode
from noetl_engine.state.context import scope_of, start_flat

_NOT_AN_ARRAY = "start step loop.in must resolve to a JSON array, got: {word}"


def decide_start(draft: Draft, message: ExecuteMessage) -> None:
    """Begin an execution; the same start again gets the same answer.

    Raises:
        StartRefused: The start step can't be rendered.
    """
    if not draft.state.start_event_id:
        _begin(draft, message)
    draft.decision.answer = Answer(
        body={
            "execution_id": str(draft.state.execution_id),
            "status": "started",
            "commands_generated": draft.state.start_commands,
        }
    )


def _begin(draft: Draft, message: ExecuteMessage) -> None:
    workload = {**draft.playbook.workload, **message.payload}
    flat = start_flat(
        workload,
        execution_id=message.execution_id,
        catalog_id=message.catalog_id,
        path=message.path,
    )
    step = draft.playbook.start
    try:
        if step.loop is None:
            command = build_command(step, flat)
            _append_started(draft, message, workload, generated=1)
            draft.issue(command)
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
    scope = scope_of(flat)
    elements = _elements(loop, scope)
    total = len(elements)
    most = draft.facts.limits.iterations_in_flight
    limit = limit_of(loop, scope, total=total, most=most)
    count = total if limit is None else min(limit, total)
    count = min(count, draft.room(flat, wanted=count))
    commands: list[BuiltCommand] = [
        build_command(step, flat, LoopElement(loop, index, total, elements[index]))
        for index in range(count)
    ]
    _append_started(draft, message, workload, generated=total)
    draft.append(
        draft.engine_row(
            EventType.STEP_ENTER,
            START_STEP,
            "ENTERED",
            {"iterations_expected": total, "iterator_var": loop.iterator},
            meta={"emitted_by": "execute_handler"},
            note={"collection": elements, "limit": limit},
        )
    )
    for command in commands:
        draft.issue(command)
    if not elements:
        draft.append(draft.engine_row(EventType.STEP_EXIT, START_STEP, "COMPLETED"))
        route_completion(draft, START_STEP)
    started = draft.state.step(START_STEP).loop
    if started is not None and started.may_issue:
        draft.decision.continue_later = True


def _elements(loop: Loop, scope: dict[str, Json]) -> list[Json]:
    if loop.mode is LoopMode.CURSOR or loop.collection is None:
        raise EvaluateError(_NOT_AN_ARRAY.format(word="null"))
    rendered = render_collection(loop.collection, scope)
    if not isinstance(rendered, list):
        raise EvaluateError(_NOT_AN_ARRAY.format(word=type_word(rendered)))
    return rendered


def _append_started(
    draft: Draft, message: ExecuteMessage, workload: dict[str, Json], *, generated: int
) -> None:
    meta: dict[str, Json] = {
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
        context={
            "catalog_id": str(message.catalog_id),
            "execution_id": str(message.execution_id),
            "path": message.path,
            "workload": workload,
        },
        meta=meta,
        note={
            "version": message.version,
            "commands": generated,
            **draft.begin_deadline(draft.playbook.timeout_seconds),
        },
    )
    draft.append(row)
    draft.trigger = row.event_id
