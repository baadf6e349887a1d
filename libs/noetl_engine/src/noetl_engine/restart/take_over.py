"""Take over the runs of the origin: their results are entered, and routed anew.

While this goes on, steps are entered and nothing is issued for them. Each recorded run gets a
short `command.issued` and its worker's rows; the routing that follows is decided like any other.
What is left without a result is issued when the origin's log is read.
"""

from noetl_contract.events import EventRow, EventType
from noetl_contract.json import Json, JsonObject

from noetl_engine.commands.build import BuiltCommand, LoopElement
from noetl_engine.decide.draft import PLAYBOOK_NODE, Draft
from noetl_engine.decide.ends.terminal import end_if_quiet
from noetl_engine.decide.worker import after_end
from noetl_engine.outputs import NeedRows, OriginNeed
from noetl_engine.restart.origin import EarlySignal, NewWorkload, OriginLog, RecordedRun
from noetl_engine.state.identity import micros
from noetl_engine.state.model import CommandState, Phase, StepState, TakeOver

_ROWS_PER_DECISION = 500
_MOST_NAMES = 50
# Of a row's note, what says how it counts; the command's own parts are new.
_KEPT_NOTES = ("callback", "index", "parked")


def check_origin(wanted: TakeOver, log: OriginLog) -> None:
    """Ask for more of the origin's log when all that was read of it is taken over.

    Raises:
        NeedRows: More has to be read first; nothing was changed.
    """
    if not log.runs and not log.is_read:
        need = OriginNeed(wanted.execution_id, after=log.position, up_to=wanted.upto)
        raise NeedRows(origin=need)


def take_over(draft: Draft, log: OriginLog) -> None:
    """Enter the next recorded runs; behind the last one the execution goes on by itself.

    Raises:
        NeedRows: None of the runs that were read counts; nothing was changed.
    """
    state = draft.state
    wanted = state.take_over
    if wanted is None:
        return
    taken, at, left_out = 0, wanted.position, []
    while log.runs and len(draft.decision.events) < _ROWS_PER_DECISION and not state.ended:
        run = log.runs.popleft()
        at = run.position
        if not isinstance(run, RecordedRun):
            _enter_other(draft, run)
        elif run.is_again:
            continue
        elif not _fits(draft, run):
            left_out.append(run.step)
        else:
            taken += 1
            if run.rows[-1].event_id == wanted.cause:
                # The decision that could not be made is made with what is changed.
                _finish(draft, wanted, taken, left_out)
            _enter(draft, run)
    if state.ended or state.take_over is None:
        return
    if log.is_read and not log.runs:
        _finish(draft, wanted, taken, left_out)
        end_if_quiet(draft)
        return
    if not draft.decision.events:
        check_origin(wanted, log)
    names = list(dict.fromkeys(left_out))[:_MOST_NAMES]
    draft.apply(["taken", at if log.runs else log.position, taken, names])
    draft.decision.continue_later = True


def _enter_other(draft: Draft, found: NewWorkload | EarlySignal) -> None:
    if isinstance(found, NewWorkload):
        _append_restored(draft, {}, found.workload)
    else:
        draft.append(_copy_signal(draft, found.row))


def _fits(draft: Draft, run: RecordedRun) -> bool:
    """Return whether the restarted execution is where the origin was when this run began."""
    step = draft.state.steps.get(run.step)
    if step is None or step.phase is not Phase.RUNNING or step.runs != run.visit:
        return False
    loop, cursor = step.loop, run.cursor if isinstance(run.cursor, dict) else {}
    if loop is None:
        return run.index is None and not cursor and not step.open
    if cursor.get("phase") == "claim":
        return step.queued is not None and loop.frame == cursor.get("frame")
    if run.index is None or not loop.is_to_issue(run.index):
        return False
    if loop.frame is not None:
        return loop.frame == cursor.get("frame") and step.queued is None
    return _same_element(draft, loop.entered, run, run.index)


def _same_element(draft: Draft, entered: int, run: RecordedRun, index: int) -> bool:
    """Return whether an iteration works on the same element, which another version may change."""
    now, then = draft.memory.values.rows[entered].get("collection"), run.collection
    if not isinstance(now, list) or not isinstance(then, list) or index >= len(then):
        return False
    return bool(now[index] == then[index])


def _enter(draft: Draft, run: RecordedRun) -> None:
    """Enter a recorded run as one of this execution's, and route its completion."""
    step = draft.state.step(run.step)
    command = draft.issue_recorded(_built(draft, step, run))
    for row in run.rows:
        last = draft.append(_copy(draft, row, command))
    after_end(draft, last, command)


def _built(draft: Draft, step: StepState, run: RecordedRun) -> BuiltCommand:
    loop = draft.playbook.steps[run.step].loop
    iteration = None
    if run.index is not None and loop is not None and step.loop is not None:
        iteration = LoopElement(loop, run.index, step.loop.total, None)
    return BuiltCommand(run.step, run.kind, None, iteration, cursor=run.cursor)


def _copy(draft: Draft, row: EventRow, command: CommandState) -> EventRow:
    """Return a row of the origin as one of this execution, which says where it is from."""
    origin_note = row.note if isinstance(row.note, dict) else {}
    note: JsonObject = {"command": command.event_id, "at": micros(draft.facts.now)}
    note |= {key: origin_note[key] for key in _KEPT_NOTES if key in origin_note}
    if "command_id" in origin_note:
        note["command_id"] = command.command_id
    meta = dict(row.meta) if isinstance(row.meta, dict) else {}
    meta.pop("attempts", None)
    if "command_id" in meta:
        meta["command_id"] = command.command_id
    meta["restored_from"] = _restored_from(row)
    return draft.row(
        row.event_type,
        row.node_name,
        row.status or "",
        node_id=row.node_id,
        node_type=row.node_type,
        result=_of_command(row.result, command.command_id),
        error=row.error,
        worker_id=row.worker_id,
        meta=meta,
        note=note,
    )


def _copy_signal(draft: Draft, row: EventRow) -> EventRow:
    """Return the row by which a restart keeps a signal that its origin kept."""
    meta = dict(row.meta) if isinstance(row.meta, dict) else {}
    return draft.row(
        row.event_type,
        row.node_name,
        row.status or "",
        result=row.result,
        meta={**meta, "restored_from": _restored_from(row)},
        note=row.note,
    )


def _restored_from(row: EventRow) -> JsonObject:
    return {"execution_id": str(row.execution_id), "event_id": str(row.event_id)}


def _of_command(result: Json, command_id: str) -> Json:
    context = result.get("context") if isinstance(result, dict) else None
    if not isinstance(context, dict) or "command_id" not in context:
        return result
    return {**result, "context": {**context, "command_id": command_id}}


def _finish(draft: Draft, wanted: TakeOver, taken: int, left_out: list[str]) -> None:
    """Append the row behind which the execution is one like any other."""
    context: JsonObject = {
        "origin_execution_id": str(wanted.execution_id),
        "taken_over": wanted.taken + taken,
        "again": list(wanted.again),
    }
    names = list(dict.fromkeys([*wanted.left_out, *left_out]))
    if names:
        context["left_out"] = names[:_MOST_NAMES]
    workload = None
    note: JsonObject = {"over": True}
    if wanted.input:
        note["given"] = wanted.given.dump()
        workload = {**draft.memory.values.rows[draft.state.workload], **wanted.input}
    _append_restored(draft, context, workload, note)
    draft.decision.continue_later = True


def _append_restored(
    draft: Draft, context: JsonObject, workload: Json, note: JsonObject | None = None
) -> None:
    """Append an `execution.restored`; a changed workload counts from there on."""
    state = draft.state
    draft.trigger = state.start_event_id
    note = dict(note or {})
    columns: JsonObject = {}
    changed: list[str] = []
    if isinstance(workload, dict):
        before = draft.memory.values.rows[state.workload]
        changed = [key for key in workload if workload[key] != before.get(key)]
        note["workload"] = True
        columns["context"] = {"workload": workload}
    row = draft.append(
        draft.row(
            EventType.EXECUTION_RESTORED,
            PLAYBOOK_NODE,
            "RESTORED",
            parent_event_id=draft.trigger,
            result={"status": "RESTORED", "context": context},
            note=note,
            **columns,
        )
    )
    # A variable of the name would hide the new value.
    hidden = {name: [row.position, None] for name in changed if name in state.variables}
    if hidden:
        draft.apply(["variables", hidden])
