"""`/api/failures`: failures grouped by fingerprint, by default those not dealt with yet."""

from typing import Annotated, Any, Literal

from pydantic import Field

from noetl_contract.http.executions.start import Version
from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.scalars import integer_within
from noetl_contract.model import Model, example

MOST_PER_REQUEST = 100
"""Failures that one request restarts or dismisses."""

FailureState = Literal["open", "dismissed", "restarted", "all"]
"""State of a failure; `open` is neither dismissed nor restarted."""

Fingerprint = Annotated[str, Field(min_length=1, max_length=64)]
PageLimit = Annotated[int, integer_within(1, MOST_PER_REQUEST)]


class FailureGroup(Model):
    """Failures of one step of one playbook with the same message, but for numbers and ids."""

    model_config = example(
        fingerprint="6fd1c3b0a94e7d25",
        path="etl/nightly",
        step="load",
        kind="tool",
        message="HTTP error: 503 Service Unavailable after 3 tries",
        count=12,
        first_at="2026-06-15T02:00:09.123456Z",
        last_at="2026-06-15T04:12:55.000000Z",
        execution_ids=["325077236512452608"],
    )

    fingerprint: str
    path: str
    step: str | None
    kind: str
    message: str = Field(description="of the newest one, secrets masked")
    count: int
    first_at: Rfc3339
    last_at: Rfc3339
    execution_ids: list[str] = Field(description="the newest, at most five")


class FailureList(Model):
    """A page of groups, latest failure first; `is_complete` is false when not all were read.

    The newest 10,000 failures of each shard are grouped.
    """

    failures: list[FailureGroup]
    is_complete: bool


class FailureRestartRequest(Model):
    """Restart a page of the open failures of a group, as `…/restart` does each."""

    model_config = example(fingerprint="6fd1c3b0a94e7d25", limit=50)

    fingerprint: Fingerprint
    limit: PageLimit = MOST_PER_REQUEST
    input: dict[str, Any] | None = None
    version: Version | None = None


class FailureRestart(Model):
    """Outcome of one restart: the new execution, or the reason why there is none."""

    execution_id: str
    restarted_as: str | None = None
    error: str | None = None


class FailureRestartAnswer(Model):
    """The outcomes, and whether the same request has more to do."""

    model_config = example(
        fingerprint="6fd1c3b0a94e7d25",
        restarted=1,
        refused=0,
        has_more=False,
        results=[{"execution_id": "325077236512452608", "restarted_as": "325077236512459999"}],
    )

    fingerprint: str
    restarted: int
    refused: int
    has_more: bool
    results: list[FailureRestart]


class FailureDismissRequest(Model):
    """Dismiss a page of the open failures of a group."""

    model_config = example(fingerprint="6fd1c3b0a94e7d25")

    fingerprint: Fingerprint
    limit: PageLimit = MOST_PER_REQUEST


class FailureDismissAnswer(Model):
    """Number of dismissed failures, and whether the same request has more to do."""

    model_config = example(fingerprint="6fd1c3b0a94e7d25", dismissed=12, has_more=False)

    fingerprint: str
    dismissed: int
    has_more: bool
