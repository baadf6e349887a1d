"""Operations of the projector that read executions, their events and commands."""

from pydantic import Field

from noetl_contract.http.catalog.subscriptions import SubscriptionBody, SubscriptionList
from noetl_contract.http.executions.events import BatchStatus, EventResult
from noetl_contract.http.executions.reads import (
    CancellationCheck,
    DetailEvent,
    EventsAnswer,
    ExecutionDetail,
    ExecutionEntry,
    ExecutionStatusAnswer,
)
from noetl_contract.http.executions.replay import ReplayAnswer
from noetl_contract.http.workers.commands import CommandAnswer
from noetl_contract.json import Json
from noetl_contract.model import Model, example
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation


class ExecutionName(Model):
    """The id of an execution."""

    model_config = example(execution_id=325077236512452608)

    execution_id: int


class ExecutionsPage(Model):
    """A page of executions: filters, how many, and how many to leave out."""

    catalog_id: int | None = None
    path: str | None = Field(default=None, description="part of the path, in any case")
    status: str | None = None
    limit: int = 50
    offset: int = 0


class DetailRequest(Model):
    """An execution with its newest events, or with a page of them when ``page`` is there."""

    execution_id: int
    page: int | None = None
    page_size: int = 100
    since_event_id: int | None = None
    event_type: str | None = None
    include_events: bool = Field(default=True, description="counts with `page` only")


class EventsPage(Model):
    """A page of events, newest first."""

    execution_id: int
    page: int
    page_size: int
    since_event_id: int | None = None
    event_type: str | None = None


class ExecutionExists(Model):
    """Whether an execution was started, and how many commands its start made (W5)."""

    exists: bool
    status: str | None
    commands_generated: int


class ExecutionOrigin(Model):
    """The catalog entry and the unmasked workload of an execution; for services only."""

    catalog_id: int
    workload: Json = Field(repr=False)


class TailRequest(Model):
    """Events after a position, or after an event, in the order of the log."""

    execution_id: int
    after_position: int = 0
    after_event_id: int | None = Field(default=None, description="wins over `after_position`")
    limit: int = 500


class TailEvent(DetailEvent):
    """One event with its position in the log."""

    position: int


class ExecutionTail(Model):
    """Events of the log, and the state and the end of the log when they were read."""

    events: list[TailEvent]
    status: str
    position: int
    after_position: int


class StuckRequest(Model):
    """For how long an execution must have been running, and how many to list."""

    older_than_minutes: int
    limit: int


class StuckExecutions(Model):
    """Ids of executions, oldest first."""

    execution_ids: list[int]


class CommandName(Model):
    """The event that issued a command; with the execution the command is found faster."""

    event_id: int
    execution_id: int | None = None


class EventName(Model):
    """The id of an event."""

    event_id: int


class BatchName(Model):
    """The id of a batch: of its first event."""

    request_id: int


class ReplayRequest(Model):
    """An execution and at most one cutoff."""

    execution_id: int
    tenant_id: str
    organization_id: str
    projection: str
    limit: int
    as_of_event_id: int | None = None
    as_of_position: int | None = None
    as_of_time: str | None = Field(default=None, description="RFC 3339")


class SubscriptionName(Model):
    """The id of a subscription."""

    subscription_id: int


EXECUTIONS_LIST = Operation("projector", "executions.list", ExecutionsPage, list[ExecutionEntry])
"""List executions of a shard, newest first."""
EXECUTIONS_GET = Operation("projector", "executions.get", DetailRequest, ExecutionDetail)
"""Return an execution with its newest events, or with a page of them."""
EXECUTIONS_STATUS = Operation(
    "projector", "executions.status", ExecutionName, ExecutionStatusAnswer
)
"""Return status and progress of an execution."""
EXECUTIONS_EVENTS = Operation("projector", "executions.events", EventsPage, EventsAnswer)
"""Return a page of events, newest first."""
EXECUTIONS_CANCELLED = Operation(
    "projector", "executions.cancelled", ExecutionName, CancellationCheck
)
"""Tell whether an execution was cancelled; an unknown one was not."""
EXECUTIONS_EXISTS = Operation("projector", "executions.exists", ExecutionName, ExecutionExists)
"""Tell whether an execution was started (W5)."""
EXECUTIONS_ORIGIN = Operation("projector", "executions.origin", ExecutionName, ExecutionOrigin)
"""Return the catalog entry and the unmasked workload, to resolve secrets."""
EXECUTIONS_TAIL = Operation("projector", "executions.tail", TailRequest, ExecutionTail)
"""Return events after a position, for the replay, resumption and gaps of streams."""
EXECUTIONS_STUCK = Operation("projector", "executions.stuck", StuckRequest, StuckExecutions)
"""List executions that have been running for too long, oldest first."""
COMMAND_GET = Operation("projector", "command.get", CommandName, CommandAnswer)
"""Return a command as it was issued, unmasked."""
EVENT_RESULT = Operation("projector", "event.result", EventName, EventResult)
"""Return the result of an event, secrets masked."""
EVENTS_BATCH = Operation("projector", "events.batch", BatchName, BatchStatus)
"""Return the state of a batch of events."""
REPLAY_STATE = Operation("projector", "replay.state", ReplayRequest, ReplayAnswer)
"""Fold a log up to a cutoff."""
SUBSCRIPTION_LIST = Operation("projector", "subscription.list", Nothing, SubscriptionList)
"""List the subscriptions of a shard by id."""
SUBSCRIPTION_GET = Operation("projector", "subscription.get", SubscriptionName, SubscriptionBody)
"""Return a subscription."""
