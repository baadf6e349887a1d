"""Operations of the projector that read executions, their events and commands."""

from pydantic import BaseModel, ConfigDict, Field

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
from noetl_contract.rpc.models import MODEL, Nothing
from noetl_contract.rpc.operation import Operation

__all__ = [
    "COMMAND_GET",
    "EVENTS_BATCH",
    "EVENT_RESULT",
    "EXECUTIONS_CANCELLED",
    "EXECUTIONS_EVENTS",
    "EXECUTIONS_EXISTS",
    "EXECUTIONS_GET",
    "EXECUTIONS_LIST",
    "EXECUTIONS_ORIGIN",
    "EXECUTIONS_STATUS",
    "EXECUTIONS_STUCK",
    "EXECUTIONS_TAIL",
    "REPLAY_STATE",
    "SUBSCRIPTION_GET",
    "SUBSCRIPTION_LIST",
    "BatchName",
    "CommandName",
    "DetailRequest",
    "EventName",
    "EventsPage",
    "ExecutionExists",
    "ExecutionName",
    "ExecutionOrigin",
    "ExecutionTail",
    "ExecutionsPage",
    "ReplayRequest",
    "StuckExecutions",
    "StuckRequest",
    "SubscriptionName",
    "TailEvent",
    "TailRequest",
]


class ExecutionName(BaseModel):
    """The id of an execution."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={"examples": [{"execution_id": 325077236512452608}]},
    )

    execution_id: int


class ExecutionsPage(BaseModel):
    """A page of executions: filters, how many, and how many to leave out."""

    model_config = MODEL

    catalog_id: int | None = None
    path: str | None = Field(default=None, description="part of the path, in any case")
    status: str | None = None
    limit: int = 50
    offset: int = 0


class DetailRequest(BaseModel):
    """An execution with its newest events, or with a page of them when ``page`` is there."""

    model_config = MODEL

    execution_id: int
    page: int | None = None
    page_size: int = 100
    since_event_id: int | None = None
    event_type: str | None = None
    include_events: bool = Field(default=True, description="counts with `page` only")


class EventsPage(BaseModel):
    """A page of events, newest first."""

    model_config = MODEL

    execution_id: int
    page: int
    page_size: int
    since_event_id: int | None = None
    event_type: str | None = None


class ExecutionExists(BaseModel):
    """Whether an execution was started, and how many commands its start made (W5)."""

    model_config = MODEL

    exists: bool
    status: str | None
    commands_generated: int


class ExecutionOrigin(BaseModel):
    """The catalog entry and the unmasked workload of an execution; for services only."""

    model_config = MODEL

    catalog_id: int
    workload: Json = Field(repr=False)


class TailRequest(BaseModel):
    """Events after a position, or after an event, in the order of the log."""

    model_config = MODEL

    execution_id: int
    after_position: int = 0
    after_event_id: int | None = Field(default=None, description="wins over `after_position`")
    limit: int = 500


class TailEvent(DetailEvent):
    """One event with its position in the log."""

    position: int


class ExecutionTail(BaseModel):
    """Events of the log, and the state and the end of the log when they were read."""

    model_config = MODEL

    events: list[TailEvent]
    status: str
    position: int
    after_position: int


class StuckRequest(BaseModel):
    """For how long an execution must have been running, and how many to list."""

    model_config = MODEL

    older_than_minutes: int
    limit: int


class StuckExecutions(BaseModel):
    """Ids of executions, oldest first."""

    model_config = MODEL

    execution_ids: list[int]


class CommandName(BaseModel):
    """The event that issued a command; with the execution the command is found faster."""

    model_config = MODEL

    event_id: int
    execution_id: int | None = None


class EventName(BaseModel):
    """The id of an event."""

    model_config = MODEL

    event_id: int


class BatchName(BaseModel):
    """The id of a batch: of its first event."""

    model_config = MODEL

    request_id: int


class ReplayRequest(BaseModel):
    """An execution and at most one cutoff."""

    model_config = MODEL

    execution_id: int
    tenant_id: str
    organization_id: str
    projection: str
    limit: int
    as_of_event_id: int | None = None
    as_of_position: int | None = None
    as_of_time: str | None = Field(default=None, description="RFC 3339")


class SubscriptionName(BaseModel):
    """The id of a subscription."""

    model_config = MODEL

    subscription_id: int


EXECUTIONS_LIST = Operation(
    service="projector",
    name="executions.list",
    request=ExecutionsPage,
    answer=list[ExecutionEntry],
    scope="shard",
    summary="List executions of a shard, newest first.",
)
EXECUTIONS_GET = Operation(
    service="projector",
    name="executions.get",
    request=DetailRequest,
    answer=ExecutionDetail,
    scope="shard",
    summary="Return an execution with its newest events, or with a page of them.",
)
EXECUTIONS_STATUS = Operation(
    service="projector",
    name="executions.status",
    request=ExecutionName,
    answer=ExecutionStatusAnswer,
    scope="shard",
    summary="Return status and progress of an execution.",
)
EXECUTIONS_EVENTS = Operation(
    service="projector",
    name="executions.events",
    request=EventsPage,
    answer=EventsAnswer,
    scope="shard",
    summary="Return a page of events, newest first.",
)
EXECUTIONS_CANCELLED = Operation(
    service="projector",
    name="executions.cancelled",
    request=ExecutionName,
    answer=CancellationCheck,
    scope="shard",
    summary="Tell whether an execution was cancelled; an unknown one was not.",
)
EXECUTIONS_EXISTS = Operation(
    service="projector",
    name="executions.exists",
    request=ExecutionName,
    answer=ExecutionExists,
    scope="shard",
    summary="Tell whether an execution was started (W5).",
)
EXECUTIONS_ORIGIN = Operation(
    service="projector",
    name="executions.origin",
    request=ExecutionName,
    answer=ExecutionOrigin,
    scope="shard",
    summary="Return the catalog entry and the unmasked workload, to resolve secrets.",
)
EXECUTIONS_TAIL = Operation(
    service="projector",
    name="executions.tail",
    request=TailRequest,
    answer=ExecutionTail,
    scope="shard",
    summary="Return events after a position, for the replay, resumption and gaps of streams.",
)
EXECUTIONS_STUCK = Operation(
    service="projector",
    name="executions.stuck",
    request=StuckRequest,
    answer=StuckExecutions,
    scope="shard",
    summary="List executions that have been running for too long, oldest first.",
)
COMMAND_GET = Operation(
    service="projector",
    name="command.get",
    request=CommandName,
    answer=CommandAnswer,
    scope="shard",
    summary="Return a command as it was issued, unmasked.",
)
EVENT_RESULT = Operation(
    service="projector",
    name="event.result",
    request=EventName,
    answer=EventResult,
    scope="shard",
    summary="Return the result of an event, secrets masked.",
)
EVENTS_BATCH = Operation(
    service="projector",
    name="events.batch",
    request=BatchName,
    answer=BatchStatus,
    scope="shard",
    summary="Return the state of a batch of events.",
)
REPLAY_STATE = Operation(
    service="projector",
    name="replay.state",
    request=ReplayRequest,
    answer=ReplayAnswer,
    scope="shard",
    summary="Fold a log up to a cutoff.",
)
SUBSCRIPTION_LIST = Operation(
    service="projector",
    name="subscription.list",
    request=Nothing,
    answer=SubscriptionList,
    scope="shard",
    summary="List the subscriptions of a shard by id.",
)
SUBSCRIPTION_GET = Operation(
    service="projector",
    name="subscription.get",
    request=SubscriptionName,
    answer=SubscriptionBody,
    scope="shard",
    summary="Return a subscription.",
)
