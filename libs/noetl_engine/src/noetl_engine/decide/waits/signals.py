"""Signals: one ends the oldest wait for it, or is kept for the next."""

import orjson
from noetl_contract.events import EventRow, EventType, format_time
from noetl_contract.ingress import SignalMessage
from noetl_contract.json import Json, JsonObject
from noetl_contract.waits.form import BadPayload, Form, filled, read_form

from noetl_engine.decide.draft import BY_ENGINE, Draft
from noetl_engine.decide.waits.ends import end_wait, signal_data
from noetl_engine.outputs import Answer
from noetl_engine.playbook.model import Playbook, Tool
from noetl_engine.playbook.waits import WAIT, is_template
from noetl_engine.state.model import CommandState, State
from noetl_engine.state.waiting import KeptSignal


def find_wait(state: State, message: SignalMessage) -> CommandState | None:
    """Return the oldest open wait that a signal may end."""
    return next(
        (
            command
            for command in state.commands.values()
            if command.wait is not None
            and command.wait.kind == WAIT
            and command.wait.signal == message.name
            and message.wait_id in {None, command.event_id}
            and message.step in {None, command.step}
            and message.iteration in {None, command.index}
        ),
        None,
    )


def decide_signal(draft: Draft, message: SignalMessage) -> None:
    """Take a signal."""
    draft.decision.answer = _answer(draft, message)


def _answer(draft: Draft, message: SignalMessage) -> Answer:
    state = draft.state
    if state.ended:
        return Answer(409, error=f"Cannot signal execution in {state.status} state")
    size = len(orjson.dumps(message.payload))
    most = draft.facts.limits.signal_bytes
    if size > most:
        text = f"The payload has {size} bytes, the limit is {most} (NOETL_SIGNAL_BYTES_MAX)"
        return Answer(422, error=text)
    command = find_wait(state, message)
    if command is None:
        return _keep(draft, message, size)
    form = draft.memory.values.rows[command.issued].get("form")
    try:
        payload = filled(read_form(form), message.payload)
    except BadPayload as problem:
        return _unfit(message.name, problem)
    row = _append(draft, message, payload, step=command.step)
    wait = command.wait
    if wait is not None:
        data = signal_data(
            wait,
            payload=payload,
            signal_id=message.signal_id,
            actor=message.actor,
            received_at=format_time(row.created_at),
        )
        end_wait(draft, command, data, reason="signal", parent=row.event_id)
    return _taken(draft, message, command)


def _keep(draft: Draft, message: SignalMessage, size: int) -> Answer:
    """Keep a signal that nothing waits for yet, if something may."""
    if message.wait_id is not None:
        return Answer(409, error=f"Nothing waits for signal '{message.name}' there any more")
    forms = _written_forms(draft.playbook, message)
    if forms is None:
        return Answer(404, error=_nobody(draft.playbook, message))
    try:
        _check_one(forms, message.payload)
    except BadPayload as problem:
        return _unfit(message.name, problem)
    kept, limits = draft.state.signals, draft.facts.limits
    if len(kept) >= limits.signals_kept:
        text = (
            f"Execution {draft.state.execution_id} keeps {len(kept)} signals that nothing has "
            f"waited for, the limit is {limits.signals_kept} (NOETL_SIGNALS_KEPT_MAX)"
        )
        return Answer(409, error=text)
    if size + sum(one.size for one in kept) > limits.signals_kept_bytes:
        text = (
            f"Execution {draft.state.execution_id} keeps signals that nothing has waited for of "
            f"{limits.signals_kept_bytes} bytes, the limit (NOETL_SIGNALS_KEPT_BYTES_MAX)"
        )
        return Answer(409, error=text)
    note: JsonObject = {"name": message.name, "size": size}
    note |= {"step": message.step, "index": message.iteration}
    _append(draft, message, message.payload, step=message.step, kept=note)
    return _body(draft, message, "kept", step=message.step, iteration=message.iteration)


def _written_forms(playbook: Playbook, message: SignalMessage) -> list[Form] | None:
    """Return the forms, as far as they are known, of steps that may wait for a signal.

    None when none may; an empty form stands for one that is known only when it is rendered.
    """
    forms: list[Form] = []
    for step in playbook.steps.values():
        tool = step.tool
        if not isinstance(tool, Tool) or tool.kind != WAIT:
            continue
        if message.step not in {None, step.name}:
            continue
        signal = tool.config.get("signal")
        if is_template(signal) or signal == message.name:
            form = tool.config.get("form")
            forms.append(() if is_template(form) else read_form(form))
    return forms or None


def _check_one(forms: list[Form], payload: Json) -> None:
    """Check that a payload fits one of the forms.

    Raises:
        BadPayload: It fits none; the problems are those of the first.
    """
    first: BadPayload | None = None
    for form in forms:
        try:
            filled(form, payload)
        except BadPayload as problem:
            first = first or problem
        else:
            return
    if first is not None:
        raise first


def _nobody(playbook: Playbook, message: SignalMessage) -> str:
    if message.step is not None and message.step not in playbook.steps:
        return f"Step not found: {message.step}"
    names = sorted(
        {
            str(step.tool.config.get("signal"))
            for step in playbook.steps.values()
            if isinstance(step.tool, Tool) and step.tool.kind == WAIT
        }
    )
    where = "No step" if message.step is None else f"Step {message.step} is none that"
    known = f"; the signals are {', '.join(names)[:500]}" if names else ""
    return f"{where} waits for signal '{message.name}'{known}"


def take_kept_signals(draft: Draft) -> None:
    """End the waits that this decision has begun and that a kept signal is there for."""
    while draft.began_waits and not draft.state.ended:
        command = draft.state.commands.get(draft.began_waits.popleft())
        if command is not None:
            _take_kept(draft, command)


def _take_kept(draft: Draft, command: CommandState) -> None:
    wait = command.wait
    if wait is None:
        return
    values = draft.memory.values.rows
    form = read_form(values[command.issued].get("form"))
    for kept in list(draft.state.signals):
        if not _may_take(kept, command):
            continue
        said = values[kept.position]
        try:
            payload = filled(form, said.get("payload"))
        except BadPayload:
            continue  # it stays for a wait that it fits
        data = signal_data(
            wait,
            payload=payload,
            signal_id=said.get("signal_id"),
            actor=said.get("actor"),
            received_at=said.get("received_at"),
        )
        end_wait(draft, command, data, reason="signal", took=kept.position)
        return


def _may_take(kept: KeptSignal, command: CommandState) -> bool:
    return (
        command.wait is not None
        and kept.name == command.wait.signal
        and kept.step in {None, command.step}
        and kept.index in {None, command.index}
    )


def _append(
    draft: Draft,
    message: SignalMessage,
    payload: Json,
    *,
    step: str | None,
    kept: JsonObject | None = None,
) -> EventRow:
    context: JsonObject = {
        "signal": message.name,
        "signal_id": message.signal_id,
        "payload": payload,
        "actor": message.actor,
        "received_at": format_time(draft.facts.now),
    }
    return draft.append(
        draft.row(
            EventType.SIGNAL_RECEIVED,
            step,
            "RECEIVED",
            result={"status": "RECEIVED", "context": context},
            meta=dict(BY_ENGINE),
            note=None if kept is None else {"kept": kept},
        )
    )


def _unfit(name: str, problem: BadPayload) -> Answer:
    text = f"The payload doesn't fit the form of signal '{name}': {problem}"
    return Answer(422, error=text, detail={"message": text, "fields": problem.problems})


def _taken(draft: Draft, message: SignalMessage, command: CommandState) -> Answer:
    return _body(draft, message, "taken", step=command.step, iteration=command.index)


def _body(
    draft: Draft, message: SignalMessage, status: str, *, step: str | None, iteration: int | None
) -> Answer:
    return Answer(
        body={
            "execution_id": draft.state.execution_id,
            "signal": message.name,
            "signal_id": message.signal_id,
            "status": status,
            "step": step,
            "iteration": iteration,
        }
    )
