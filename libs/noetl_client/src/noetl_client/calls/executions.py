"""Executions: starts, reads, and changes of their course."""

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
        path: path of the playbook in the catalog.
        workload: values that replace those of the playbook's workload.
        version: number of the version, by default the newest.
        timeout: deadline of the execution: seconds, or `30s`, `5m`, `1h`.
        pool: worker pool that runs all commands of the execution.
        key: idempotency key; all calls with the same key start one execution. By default the client
            generates a key, so that it can retry the call if the answer is lost.
    """
    fields = given(version=version, timeout=timeout, execution_pool=pool)
    body = ExecuteRequest(path=path, workload=dict(workload or {}), **fields)
    return send("/api/execute", ExecuteAnswer, body, key=_key(key), again=Again.SAFE)


def rerun(
    execution_id: Id, workload: Mapping[str, Json] | None = None, *, key: str | None = None
) -> Call[ExecuteAnswer]:
    """Start the same playbook and version again, with the same workload and changes to it."""
    body = RerunRequest(workload=dict(workload or {}))
    return send(_path(execution_id, "rerun"), ExecuteAnswer, body, key=_key(key), again=Again.SAFE)


def restart(
    execution_id: Id,
    *,
    from_step: str | None = None,
    iterations: Sequence[int] | None = None,
    values: Mapping[str, Json] | None = None,
    version: int | str | None = None,
    key: str | None = None,
) -> Call[RestartAnswer]:
    """Start an execution that continues an ended one.

    Args:
        execution_id: id of the ended execution.
        from_step: step that runs again, with all steps after it; by default the failed steps.
        iterations: iterations of this loop that run again, by default all.
        values: values for the steps that run again.
        version: version of the playbook; `latest` for the newest.
        key: idempotency key, as for ``start``.
    """
    fields = given(from_step=from_step, iteration=iterations, input=values, version=version)
    body = RestartRequest(**fields)
    return send(
        _path(execution_id, "restart"), RestartAnswer, body, key=_key(key), again=Again.SAFE
    )


def status(execution_id: Id) -> Call[ExecutionStatusAnswer]:
    """Read the status of an execution."""
    return get(_path(execution_id, "status"), ExecutionStatusAnswer)


def detail(execution_id: Id, *, events: bool = True) -> Call[ExecutionDetail]:
    """Read an execution, with or without its events."""
    if events:
        return get(_path(execution_id), ExecutionDetail)
    return get(_path(execution_id), ExecutionDetail, include_events=False, page=1, page_size=1)


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
        path: part of the playbook's path, case-insensitive.
        status: `RUNNING`, `COMPLETED`, `FAILED` or `CANCELLED`.
        catalog_id: id of the playbook's version.
        parent: id of the parent execution.
        limit: size of the page, at most 100.
        after: id of the last entry of the previous page.
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
    return get(_path(execution_id, "steps"), StepList, state=state, limit=limit, after=after)


def events(
    execution_id: Id,
    *,
    event_type: str | None = None,
    step: str | None = None,
    page: int | None = None,
    page_size: int | None = None,
) -> Call[EventsAnswer]:
    """Read a page of the events of an execution, newest first."""
    return get(
        _path(execution_id, "events"),
        EventsAnswer,
        event_type=event_type,
        step=step,
        page=page,
        page_size=page_size,
    )


def why(execution_id: Id) -> Call[WhyAnswer]:
    """Read the reason why an execution waits, since when, and how to continue it."""
    return get(_path(execution_id, "why"), WhyAnswer)


def cancel(
    execution_id: Id, reason: str | None = None, *, cascade: bool = False
) -> Call[CancelAnswer]:
    """Cancel an execution; with ``cascade`` all of its descendants too."""
    body = CancelRequest(cascade=cascade, **given(reason=reason))
    return send(_path(execution_id, "cancel"), CancelAnswer, body)


def pause(execution_id: Id, reason: str | None = None) -> Call[PauseAnswer]:
    """Pause an execution: no new command of it is dispatched."""
    return send(_path(execution_id, "pause"), PauseAnswer, {"reason": reason})


def resume(execution_id: Id, reason: str | None = None) -> Call[PauseAnswer]:
    """Resume a paused execution."""
    return send(_path(execution_id, "resume"), PauseAnswer, {"reason": reason})


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
    """Send a signal to an execution.

    Args:
        execution_id: id of the waiting execution.
        name: name of the signal.
        payload: values of the form; any JSON if the wait has no form.
        step: if given, only a wait of this step accepts the signal.
        iteration: if given, only a wait of this iteration, counted from 0, accepts the signal.
        wait_id: if given, only this wait accepts the signal.
        signal_id: id of the signal; a repeated id has no second effect. By default the client
            generates an id.
    """
    fields: dict[str, Any] = given(step=step, iteration=iteration, wait_id=wait_id)
    body = SignalRequest(id=_key(signal_id), payload=payload, **fields)
    path = _path(execution_id, f"signals/{segment(name)}")
    return send(path, SignalAnswer, body, again=Again.SAFE)


def waits(
    *,
    path: str | None = None,
    execution_id: Id | None = None,
    signal: str | None = None,
    limit: int | None = None,
    after: Id | None = None,
) -> Call[WaitList]:
    """List waits for signals with their forms, oldest first."""
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
    """List the results of an execution that are stored outside of its log."""
    return get(f"/api/result/{segment(execution_id)}/list", ResultList, step_name=step)


def _path(execution_id: Id, what: str = "") -> str:
    return f"/api/executions/{segment(execution_id)}" + (f"/{what}" if what else "")


def _key(given_key: str | None) -> str:
    return given_key or secrets.token_hex(_KEY_BYTES)
