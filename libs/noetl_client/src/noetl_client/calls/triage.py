"""Failed executions that are not handled yet."""

from collections.abc import Mapping

from noetl_contract.http.executions.failures import (
    FailureDismissAnswer,
    FailureDismissRequest,
    FailureList,
    FailureRestartAnswer,
    FailureRestartRequest,
    FailureState,
)
from noetl_contract.json import Json

from noetl_client.calls.call import Again, Call, get, given, send


def listing(
    *,
    state: FailureState | str | None = None,
    path: str | None = None,
    step: str | None = None,
    since: str | None = None,
    limit: int | None = None,
    offset: int | None = None,
) -> Call[FailureList]:
    """List failed executions, grouped by playbook, step and message, last failure first."""
    return get(
        "/api/failures",
        FailureList,
        state=state,
        path=path,
        step=step,
        since=since,
        limit=limit,
        offset=offset,
    )


def restart(
    fingerprint: str,
    *,
    values: Mapping[str, Json] | None = None,
    version: int | str | None = None,
    limit: int | None = None,
) -> Call[FailureRestartAnswer]:
    """Restart a page of a group's open failures; a retry doesn't restart any of them twice."""
    fields = given(input=values, version=version, limit=limit)
    body = FailureRestartRequest(fingerprint=fingerprint, **fields)
    return send("/api/failures/restart", FailureRestartAnswer, body, again=Again.SAFE)


def dismiss(fingerprint: str, *, limit: int | None = None) -> Call[FailureDismissAnswer]:
    """Dismiss a page of a group's open failures."""
    body = FailureDismissRequest(fingerprint=fingerprint, **given(limit=limit))
    return send("/api/failures/dismiss", FailureDismissAnswer, body, again=Again.SAFE)
