"""Operations of the projector for people who look after executions: failures, and what is open."""

from datetime import datetime

from pydantic import Field

from noetl_contract.access.principal import OnBehalf
from noetl_contract.http.executions.failures import (
    FailureDismissAnswer,
    FailureDismissRequest,
    FailureList,
    FailureState,
)
from noetl_contract.http.executions.why import OpenWork
from noetl_contract.model import Struct
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.projector import ExecutionName


class FailuresPage(OnBehalf):
    """A page of groups of failures: filters, how many, and how many to leave out."""

    state: FailureState = "open"
    path: str | None = Field(default=None, description="part of the path, in any case")
    step: str | None = None
    since: datetime | None = None
    limit: int = 20
    offset: int = 0


class FailuresOf(OnBehalf):
    """The open failures of a group, oldest first."""

    fingerprint: str
    limit: int


class FailedExecutions(Struct):
    """Ids of executions, and whether there are more."""

    execution_ids: list[int]
    has_more: bool


class Dismissal(FailureDismissRequest, OnBehalf):
    """Selection of failures to dismiss, and the actor that dismisses them."""

    actor: str | None = None


FAILURES_LIST = Operation("projector", "failures.list", FailuresPage, FailureList)
"""Group the newest failures of a shard."""
FAILURES_OF = Operation("projector", "failures.of", FailuresOf, FailedExecutions)
"""Return the open failures of a group."""
FAILURES_DISMISS = Operation("projector", "failures.dismiss", Dismissal, FailureDismissAnswer)
"""Dismiss a page of the open failures of a group."""
EXECUTIONS_WHY = Operation("projector", "executions.why", ExecutionName, OpenWork)
"""Return what is open of an execution: commands, timers, children, outbox rows."""
