"""Starting, reading and steering executions."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from noetl_contract.http.executions.reads import (
    CancelAnswer,
    CancelRequest,
    EventsAnswer,
    ExecutionDetail,
    ExecutionEntry,
    ExecutionStatusAnswer,
    PauseAnswer,
)
from noetl_contract.http.executions.results import ResultList
from noetl_contract.http.executions.start import (
    ExecuteAnswer,
    ExecuteRequest,
    RerunRequest,
    RestartAnswer,
    RestartRequest,
)
from noetl_contract.http.executions.steps import StepList, StepState
from noetl_contract.http.executions.waits import SignalAnswer, SignalRequest, WaitList
from noetl_contract.http.executions.why import WhyAnswer
from noetl_contract.json import Json

from noetl_client.calls.call import Again, Call, Id, get, given, segment, send

_KEY_BYTES = 16


def start(
    path: str,
    workload: Mapping[str, Json] | None = None,
    *,
    version: int | str | None = None,
    timeout: float | str | None = None,
    pool: str | None = None,
    key: str | None = None,
) -> Call[ExecuteAnswer]:
    """Start a playbook.

    Args:
        path: of the playbook in the catalog.
        workload: laid over the playbook's own.
        version: a number; the newest if absent.
        timeout: deadline of the execution: seconds, or `30s`, `5m`, `1h`.
        pool: worker pool that runs all of its commands.
        key: the same key is the same start, whoever repeats it; one is made if absent, so that
            this call may be repeated when its answer is lost.
    """
    fields = given(version=version, timeout=timeout, execution_pool=pool)
    body = ExecuteRequest(path=path, workload=dict(workload or {}), **fields)
    return send("/api/execute", ExecuteAnswer, body, key=_key(key), again=Again.SAFE)


def rerun(
    execution_id: Id, workload: Mapping[str, Json] | None = None, *, key: str | None = None
) -> Call[ExecuteAnswer]:
    """Start an execution's playbook and version again, with its workload and changes of it."""
    body = RerunRequest(workload=dict(workload or {}))
    return send(_of(execution_id, "rerun"), ExecuteAnswer, body, key=_key(key), again=Again.SAFE)


def restart(
    execution_id: Id,
    *,
    from_step: str | None = None,
    iterations: Sequence[int] | None = None,
    values: Mapping[str, Json] | None = None,
    version: int | str | None = None,
    key: str | None = None,
) -> Call[RestartAnswer]:
    """Go on from where an execution has ended.

    Args:
        execution_id: the one that has ended.
        from_step: runs again, with all that followed from it; the failed steps if absent.
        iterations: of that loop, only these run again.
        values: seen by what runs again.
        version: of the playbook, `latest` for the newest.
        key: as for ``start``.
    """
    fields = given(from_step=from_step, iteration=iterations, input=values, version=version)
    body = RestartRequest(**fields)
    return send(_of(execution_id, "restart"), RestartAnswer, body, key=_key(key), again=Again.SAFE)


def status(execution_id: Id) -> Call[ExecutionStatusAnswer]:
    """Read how an execution stands."""
    return get(_of(execution_id, "status"), ExecutionStatusAnswer)


def detail(execution_id: Id, *, events: bool = True) -> Call[ExecutionDetail]:
    """Read an execution with its events, or without."""
    if events:
        return get(_of(execution_id), ExecutionDetail)
    return get(_of(execution_id), ExecutionDetail, include_events=False, page=1, page_size=1)


def executions(
    *,
    path: str | None = None,
    status: str | None = None,
    catalog_id: Id | None = None,
    parent: Id | None = None,
    limit: int | None = None,
    after: Id | None = None,
) -> Call[list[ExecutionEntry]]:
    """List executions, newest first.

    Args:
        path: part of the playbook's path, in any case.
        status: `RUNNING`, `COMPLETED`, `FAILED` or `CANCELLED`.
        catalog_id: of the playbook's version.
        parent: children of this execution.
        limit: at most 100.
        after: id of the last entry of the page before.
    """
    return get(
        "/api/executions",
        list[ExecutionEntry],
        path=path,
        status=status,
        catalog_id=catalog_id,
        parent_execution_id=parent,
        limit=limit,
        after=after,
    )


def steps(
    execution_id: Id,
    *,
    state: StepState | None = None,
    limit: int | None = None,
    after: Id | None = None,
) -> Call[StepList]:
    """List the steps of an execution in the order in which they began."""
    return get(_of(execution_id, "steps"), StepList, state=state, limit=limit, after=after)


def events(
    execution_id: Id,
    *,
    event_type: str | None = None,
    step: str | None = None,
    page: int | None = None,
    page_size: int | None = None,
) -> Call[EventsAnswer]:
    """Page through the events of an execution, newest first."""
    return get(
        _of(execution_id, "events"),
        EventsAnswer,
        event_type=event_type,
        step=step,
        page=page,
        page_size=page_size,
    )


def why(execution_id: Id) -> Call[WhyAnswer]:
    """Ask what an execution waits for, since when, and who could help."""
    return get(_of(execution_id, "why"), WhyAnswer)


def cancel(
    execution_id: Id, reason: str | None = None, *, cascade: bool = False
) -> Call[CancelAnswer]:
    """Cancel an execution; with ``cascade`` all of its descendants too."""
    body = CancelRequest(cascade=cascade, **given(reason=reason))
    return send(_of(execution_id, "cancel"), CancelAnswer, body)


def pause(execution_id: Id, reason: str | None = None) -> Call[PauseAnswer]:
    """Hand out no new command of an execution."""
    return send(_of(execution_id, "pause"), PauseAnswer, {"reason": reason})


def resume(execution_id: Id, reason: str | None = None) -> Call[PauseAnswer]:
    """Let a paused execution go on."""
    return send(_of(execution_id, "resume"), PauseAnswer, {"reason": reason})


def signal(
    execution_id: Id,
    name: str,
    payload: Json = None,
    *,
    step: str | None = None,
    iteration: int | None = None,
    wait_id: Id | None = None,
    signal_id: str | None = None,
) -> Call[SignalAnswer]:
    """Send a signal to the waits for it.

    Args:
        execution_id: of the execution that waits.
        name: of the signal.
        payload: what the form asks for; any JSON without one.
        step: only a wait of this step may take it.
        iteration: only this iteration, from 0.
        wait_id: only this wait.
        signal_id: the same id again has no second effect; one is made if absent.
    """
    fields: dict[str, Any] = given(step=step, iteration=iteration, wait_id=wait_id)
    body = SignalRequest(id=_key(signal_id), payload=payload, **fields)
    path = _of(execution_id, f"signals/{segment(name)}")
    return send(path, SignalAnswer, body, again=Again.SAFE)


def waits(
    *,
    path: str | None = None,
    execution_id: Id | None = None,
    signal: str | None = None,
    limit: int | None = None,
    after: Id | None = None,
) -> Call[WaitList]:
    """List the waits for signals, the oldest first, each with its form."""
    return get(
        "/api/waits",
        WaitList,
        path=path,
        execution_id=execution_id,
        signal=signal,
        limit=limit,
        after=after,
    )


def stored_results(execution_id: Id, *, step: str | None = None) -> Call[ResultList]:
    """List the results of an execution that are kept outside of its log."""
    return get(f"/api/result/{segment(execution_id)}/list", ResultList, step_name=step)


def _of(execution_id: Id, what: str = "") -> str:
    return f"/api/executions/{segment(execution_id)}" + (f"/{what}" if what else "")


def _key(given_key: str | None) -> str:
    return given_key or secrets.token_hex(_KEY_BYTES)
