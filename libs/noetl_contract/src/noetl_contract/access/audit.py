"""The access audit: each decision of the edge about a request, in batches to the catalog."""

from typing import Literal

from pydantic import AwareDatetime, Field

from noetl_contract.access.principal import Kind, OnBehalf
from noetl_contract.model import Model, example

type Decision = Literal["allowed", "unauthenticated", "forbidden", "hidden", "limited"]
"""Outcome of a decision: allowed, no valid credential (401), right missing (403), out of reach
(404), too many requests (429)."""


class AccessRecord(Model):
    """One decision.

    Attributes:
        record_id: unique, so that a batch that arrives twice is kept once.
        occurred_at: when.
        principal: name of the caller, empty when it is not known.
        kind: of the credential by which it was authenticated.
        address: the peer's address.
        right: the word of the route.
        method: HTTP method.
        route: the route's template, not what the caller wrote.
        object: what it is about, as ``execution:7`` or ``credential:pg_prod``; empty if nothing.
        outcome: the decision.
        count: how many requests in a row of about a second this stands for; those of one caller
            that differ in nothing are one record.
        request_id: of the caller's header ``X-Request-Id``, cut, or made by the edge.
    """

    model_config = example(
        record_id="0Y2CYWrn5Mjp1",
        occurred_at="2026-06-15T12:00:00Z",
        principal="ci",
        kind="key",
        address="10.0.3.7",
        right="executions.cancel",
        method="POST",
        route="/api/executions/{execution_id:str}/cancel",
        object="execution:325077236512452608",
        outcome="allowed",
        request_id="5f0c",
    )

    record_id: str
    occurred_at: AwareDatetime
    principal: str = ""
    kind: Kind = "nobody"
    address: str = ""
    right: str
    method: str
    route: str
    object: str = ""
    outcome: Decision
    count: int = 1
    request_id: str = ""


class AccessRecords(Model):
    """A batch of decisions, on the stream ``noetl_audit``; ``dropped`` counts those lost before."""

    records: list[AccessRecord]
    dropped: int = 0


class AccessAuditQuery(OnBehalf):
    """Filter of decisions to list."""

    principal_name: str | None = Field(default=None, description="exact")
    right: str | None = None
    outcome: str | None = None
    object: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: int = Field(default=100, ge=1, le=1000)


class AccessAudit(Model):
    """Decisions, newest first."""

    rows: list[AccessRecord]
