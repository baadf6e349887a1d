"""Operations of the projector: reads of executions, results, variables, upkeep, SQL."""

# size: the operations of one service, each with its messages, in the order of their page

from typing import Annotated

from msgspec import UNSET, Meta, Raw, UnsetType, field
from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter

from noetl_contract.access.principal import OnBehalf
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
from noetl_contract.http.executions.results import (
    DeletedResults,
    ResultList,
    ResultPutAnswer,
    StoredResult,
    StoreSize,
)
from noetl_contract.http.executions.steps import StepList, StepState
from noetl_contract.http.executions.variables import (
    NewVar,
    VarDeletedAnswer,
    VarEntry,
    VarsDeletedAnswer,
    VarsSetAnswer,
)
from noetl_contract.http.executions.waits import WaitList
from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.system.database import SessionAnswer, SessionRequest
from noetl_contract.http.system.internal import AdvanceAnswer, RebuildAnswer
from noetl_contract.http.workers.commands import CommandAnswer
from noetl_contract.json import Json
from noetl_contract.model import Model, SecretModel, Struct, example
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation
from noetl_contract.tools.results import Part


class ExecutionName(OnBehalf):
    """The id of an execution."""

    model_config = example(execution_id=325077236512452608)

    execution_id: int


class ExecutionNames(Struct):
    """The ids of executions of one shard."""

    execution_ids: Annotated[list[int], Meta(max_length=100_000)]


class ExecutionStates(Struct):
    """Statuses of executions by id, as text."""

    states: dict[str, str]


class ExecutionsPage(OnBehalf):
    """A page of executions: filters, how many, and how many to leave out."""

    catalog_id: int | None = None
    path: str | None = Field(default=None, description="part of the path, in any case")
    status: str | None = None
    parent_execution_id: int | None = None
    after: int | None = Field(default=None, description="the execution before the page")
    after_started_at: AwareDatetime | None = Field(default=None, description="its begin, if known")
    since: AwareDatetime | None = None
    until: AwareDatetime | None = Field(default=None, description="begun before, not then")
    soft_errors: bool = Field(default=False, description="completed with errors of steps")
    limit: int = 50
    offset: int = 0


class DetailRequest(OnBehalf):
    """An execution with its newest events, or with a page of them when ``page`` is there."""

    execution_id: int
    page: int | None = None
    page_size: int = 100
    since_event_id: int | None = None
    event_type: str | None = None
    step: str | None = None
    include_events: bool = Field(default=True, description="counts with `page` only")
    has_command_contexts: bool = Field(default=False, description="those of `command.issued`")


class EventsPage(OnBehalf):
    """A page of events, newest first."""

    execution_id: int
    page: int
    page_size: int
    since_event_id: int | None = None
    event_type: str | None = None
    step: str | None = None


class ExecutionExists(Struct):
    """Whether an execution was started, and how many commands its start made (W5)."""

    exists: bool
    status: str | None
    commands_generated: int
    path: str | None = None
    parent_execution_id: int | None = None
    origin_execution_ids: list[int] = field(default_factory=list)
    """Executions that a restarted one goes on from."""


class ExecutionOrigin(Model):
    """The catalog entry, the unmasked workload and the pool of an execution; for services only."""

    catalog_id: int
    workload: Json = Field(repr=False)
    execution_pool: str | None = None


class TailRequest(OnBehalf):
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
    has_secrets: bool


class StepsPage(OnBehalf):
    """A page of the steps of an execution: in which state, how many, and behind which."""

    execution_id: int
    state: StepState | None = None
    limit: int = 100
    after: int = Field(default=0, description="the `next` of the page before")


class WaitsPage(OnBehalf):
    """A page of open waits: filters, how many, and the wait before the first."""

    path: str | None = Field(default=None, description="of the playbook, or a part from the left")
    execution_id: int | None = None
    signal: str | None = None
    kind: str | None = Field(default=None, description="`wait` or `sleep`; both if absent")
    limit: int = 100
    after: int = 0


class StuckRequest(Struct):
    """For how long an execution must have been running, and how many to list."""

    older_than_minutes: int
    limit: int


class StuckExecutions(Struct):
    """Ids of executions, oldest first."""

    execution_ids: list[int]


class CommandName(OnBehalf):
    """The event that issued a command; with the execution the command is found faster."""

    event_id: int
    execution_id: int | None = None


class CommandStanding(Struct):
    """Whether a command waits or runs still, and the path of its execution."""

    is_open: bool
    path: str


class EventName(OnBehalf):
    """The id of an event."""

    event_id: int


class BatchName(OnBehalf):
    """The id of a batch: of its first event."""

    request_id: int


class ReplayRequest(Struct):
    """An execution and at most one cutoff; ``as_of_time`` is RFC 3339."""

    execution_id: int
    tenant_id: str
    organization_id: str
    projection: str
    limit: int
    as_of_event_id: int | None = None
    as_of_position: int | None = None
    as_of_time: str | None = None


class SubscriptionName(Struct):
    """The id of a subscription."""

    subscription_id: int


EXECUTIONS_LIST = Operation("projector", "executions.list", ExecutionsPage, list[ExecutionEntry])
"""List executions of a shard, newest first."""
EXECUTIONS_GET = Operation(
    "projector", "executions.get", DetailRequest, ExecutionDetail, is_busy=True
)
"""Return an execution with its newest events, or with a page of them."""
EXECUTIONS_STATUS = Operation(
    "projector", "executions.status", ExecutionName, ExecutionStatusAnswer, is_busy=True
)
"""Return status and progress of an execution."""
EXECUTIONS_EVENTS = Operation("projector", "executions.events", EventsPage, EventsAnswer)
"""Return a page of events, newest first."""
EXECUTIONS_CANCELLED = Operation(
    "projector", "executions.cancelled", ExecutionName, CancellationCheck
)
"""Return whether an execution was cancelled; an unknown one was not."""
EXECUTIONS_EXISTS = Operation("projector", "executions.exists", ExecutionName, ExecutionExists)
"""Return whether an execution was started (W5)."""
EXECUTIONS_STATES = Operation("projector", "executions.states", ExecutionNames, ExecutionStates)
"""Return the statuses of executions; one without a state row is left out."""
EXECUTIONS_ORIGIN = Operation("projector", "executions.origin", ExecutionName, ExecutionOrigin)
"""Return the catalog entry and the unmasked workload, to resolve secrets."""
EXECUTIONS_STEPS = Operation("projector", "executions.steps", StepsPage, StepList)
"""List the steps of an execution in the order in which they began."""
WAITS_LIST = Operation("projector", "waits.list", WaitsPage, WaitList)
"""List open waits of a shard, the oldest first."""
EXECUTIONS_TAIL = Operation("projector", "executions.tail", TailRequest, ExecutionTail)
"""Return events after a position, for the replay, resumption and gaps of streams."""
EXECUTIONS_STUCK = Operation("projector", "executions.stuck", StuckRequest, StuckExecutions)
"""List executions that have been running for too long, oldest first."""
COMMAND_GET = Operation("projector", "command.get", CommandName, CommandAnswer)
"""Return a command as it was issued, unmasked."""
COMMAND_STANDING = Operation("projector", "command.standing", CommandName, CommandStanding)
"""Return whether a command is not over yet, for its capability; 404 for an unknown one."""
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


class AdvanceExecutions(Struct):
    """Executions to move; without ids those that lag behind their logs, up to ``limit``."""

    execution_ids: list[int] | None = None
    limit: int = 1000


class RebuildPage(Struct):
    """One page of the walk over all executions, behind the id ``after``."""

    after: int | None = None
    limit: int = 1000


class RecentExecution(Model):
    """An execution in the table of the dashboard."""

    execution_id: int
    path: str | None
    status: str
    started_at: Rfc3339


class ShardWidgets(Model):
    """Executions of a shard by day (ISO date), and the newest ones."""

    days: dict[str, int]
    recent: list[RecentExecution]


class SchemaTables(Struct):
    """Tables of our schema; ``exists`` is false without the schema."""

    exists: bool
    tables: list[str]


PROJECTION_ADVANCE = Operation("projector", "projection.advance", AdvanceExecutions, AdvanceAnswer)
"""Move rows of the read model to where their logs are."""
PROJECTION_REBUILD = Operation("projector", "projection.rebuild", RebuildPage, RebuildAnswer)
"""Rewrite one page of the read model; ask on with `after` until it is null (P3)."""
DASHBOARD_COUNTERS = Operation("projector", "dashboard.counters", Nothing, dict[str, int])
"""Return the number of executions by status."""
DASHBOARD_WIDGETS = Operation("projector", "dashboard.widgets", Nothing, ShardWidgets)
"""Return executions by day, and the newest ones."""
SCHEMA_TABLES = Operation("projector", "schema.tables", Nothing, SchemaTables)
"""List the tables of our schema."""


_JSON: TypeAdapter[Json] = TypeAdapter(Json)


class ResultPut(Struct):
    """A result to store: its data, or ``data_at``, a subject that it is fetched from in parts.

    The data travels as it was sent: it is JSON that nobody on the way parses.
    Under the sender's ``result_id`` the request may be repeated (W13). Without ``expires_seconds``
    the result is kept as long as its execution.
    """

    execution_id: int
    name: str
    data: Raw | UnsetType = UNSET
    data_at: str | None = None
    result_id: int | None = None
    scope: str | None = None
    source_step: str | None = None
    expires_seconds: float | None = None


class ResultRef(Struct):
    """The reference of a stored result: ``noetl://execution/<id>/result/<name>/<id>``."""

    ref: str


class PartOfResult(Struct):
    """A part of a stored result, by its path, and how many bytes of it are wanted at most."""

    ref: str
    path: list[str | int | None] = field(default_factory=list)
    most: int


class NamedResult(Struct):
    """The name of a result of an execution."""

    execution_id: int
    name: str


class ResultFilter(Struct):
    """Results of an execution, of one scope or name where given."""

    execution_id: int
    scope: str | None = None
    name: str | None = None


class StoreSizes(Model):
    """Stored results by place."""

    stores: list[StoreSize]


RESULT_PUT = Operation("projector", "result.put", ResultPut, ResultPutAnswer)
"""Store a result."""
RESULT_RESOLVE = Operation("projector", "result.resolve", ResultRef, _JSON)
"""Return the stored value itself."""
RESULT_PART = Operation("projector", "result.part", PartOfResult, Part)
"""Return a part of a stored result, or its outline if it is too large."""
RESULT_GET = Operation("projector", "result.get", NamedResult, StoredResult)
"""Return the newest result of a name with its data."""
RESULT_LIST = Operation("projector", "result.list", ResultFilter, ResultList)
"""List results of an execution without their data."""
RESULT_DELETE = Operation("projector", "result.delete", ResultFilter, DeletedResults)
"""Delete results of an execution."""
RESULT_STATS = Operation("projector", "result.stats", Nothing, StoreSizes)
"""Return the number and size of stored results by place."""


class VarName(Struct):
    """The name of a variable of an execution."""

    execution_id: int
    var_name: str


class VarsSet(Model):
    """Variables to write; the last of a name counts."""

    execution_id: int
    variables: list[NewVar]


VARS_LIST = Operation("projector", "vars.list", ExecutionName, list[VarEntry])
"""List variables by name without counting an access."""
VARS_GET = Operation("projector", "vars.get", VarName, VarEntry)
"""Return a variable and count the access."""
VARS_SET = Operation("projector", "vars.set", VarsSet, VarsSetAnswer)
"""Write variables; those before one of an unknown type are kept."""
VARS_DELETE = Operation("projector", "vars.delete", VarName, VarDeletedAnswer)
"""Delete a variable."""
VARS_CLEAR = Operation("projector", "vars.clear", ExecutionName, VarsDeletedAnswer)
"""Delete all variables of an execution."""


class SqlStatement(SecretModel):
    """One statement, and the database to run it on: our own if none is named."""

    model_config = ConfigDict(
        validate_by_name=True,
        json_schema_extra={
            "examples": [
                {
                    "query": "SELECT count(*) AS n FROM noetl.event WHERE execution_id = $1",
                    "parameters": [325077236512452608],
                    "schema": "noetl",
                }
            ]
        },
    )

    query: str
    parameters: Json = Field(default=None, repr=False)
    search_path: str | None = Field(default=None, alias="schema")
    database: str | None = None
    credential: str | None = None
    connection_string: str | None = Field(default=None, repr=False)


class SqlText(SecretModel):
    """The body as text: reading it on the way would round its numbers."""

    text: str


SQL_EXECUTE = Operation("projector", "sql.execute", SqlStatement, SqlText, repeatable=False)
"""Run a statement; the text of the answer is the body for the client."""
SESSIONS_VALIDATE = Operation("projector", "sessions.validate", SessionRequest, SessionAnswer)
"""Return the user of a browser session's token."""
