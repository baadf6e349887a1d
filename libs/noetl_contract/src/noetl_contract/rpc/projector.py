"""Operations of the projector: reads of executions, results, variables, upkeep, SQL."""

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from noetl_contract.http.workers.commands import CommandAnswer
from noetl_contract.http.system.database import SessionAnswer, SessionRequest
from noetl_contract.http.executions.events import BatchStatus, EventResult
from noetl_contract.http.executions.reads import (
    CancellationCheck,
    DetailEvent,
    EventsAnswer,
    ExecutionDetail,
    ExecutionEntry,
    ExecutionStatusAnswer,
)
from noetl_contract.http.system.internal import AdvanceAnswer, RebuildAnswer
from noetl_contract.http.executions.replay import ReplayAnswer
from noetl_contract.http.executions.results import (
    DeletedResults,
    ResultList,
    ResultPutAnswer,
    StoredResult,
    StoreSize,
)
from noetl_contract.http.catalog.subscriptions import SubscriptionBody, SubscriptionList
from noetl_contract.http.executions.variables import (
    NewVar,
    VarDeletedAnswer,
    VarEntry,
    VarsDeletedAnswer,
    VarsSetAnswer,
)
from noetl_contract.json import Json
from noetl_contract.operation import Operation
from noetl_contract.rpc.models import MODEL, SECRET_MODEL, Nothing

__all__ = [
    "COMMAND_GET",
    "DASHBOARD_COUNTERS",
    "DASHBOARD_WIDGETS",
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
    "PROJECTION_ADVANCE",
    "PROJECTION_REBUILD",
    "REPLAY_STATE",
    "RESULT_DELETE",
    "RESULT_GET",
    "RESULT_LIST",
    "RESULT_PUT",
    "RESULT_RESOLVE",
    "RESULT_STATS",
    "SCHEMA_TABLES",
    "SESSIONS_VALIDATE",
    "SQL_EXECUTE",
    "SUBSCRIPTION_GET",
    "SUBSCRIPTION_LIST",
    "VARS_CLEAR",
    "VARS_DELETE",
    "VARS_GET",
    "VARS_LIST",
    "VARS_SET",
    "AdvanceExecutions",
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
    "NamedResult",
    "RebuildPage",
    "RecentExecution",
    "ReplayRequest",
    "ResultFilter",
    "ResultPut",
    "ResultRef",
    "SchemaTables",
    "ShardWidgets",
    "SqlStatement",
    "SqlText",
    "StoreSizes",
    "StuckExecutions",
    "StuckRequest",
    "SubscriptionName",
    "TailEvent",
    "TailRequest",
    "VarName",
    "VarsSet",
]


# -- executions --------------------------------------------------------------------------


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


_JSON: TypeAdapter[Json] = TypeAdapter(Json)

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


# -- the read model ----------------------------------------------------------------------


class AdvanceExecutions(BaseModel):
    """Executions to move; without ids those that lag behind their logs, up to ``limit``."""

    model_config = MODEL

    execution_ids: list[int] | None = None
    limit: int = 1000


class RebuildPage(BaseModel):
    """One page of the walk over all executions, behind the id ``after``."""

    model_config = MODEL

    after: int | None = None
    limit: int = 1000


class RecentExecution(BaseModel):
    """An execution in the table of the dashboard."""

    model_config = MODEL

    execution_id: int
    path: str | None
    status: str
    started_at: str


class ShardWidgets(BaseModel):
    """Executions of a shard by day (ISO date), and the newest ones."""

    model_config = MODEL

    days: dict[str, int]
    recent: list[RecentExecution]


class SchemaTables(BaseModel):
    """Tables of our schema; ``exists`` is false without the schema."""

    model_config = MODEL

    exists: bool
    tables: list[str]


PROJECTION_ADVANCE = Operation(
    service="projector",
    name="projection.advance",
    request=AdvanceExecutions,
    answer=AdvanceAnswer,
    scope="shard",
    summary="Move rows of the read model to where their logs are.",
)
PROJECTION_REBUILD = Operation(
    service="projector",
    name="projection.rebuild",
    request=RebuildPage,
    answer=RebuildAnswer,
    scope="shard",
    summary="Rewrite one page of the read model; ask on with `after` until it is null (P3).",
)
DASHBOARD_COUNTERS = Operation(
    service="projector",
    name="dashboard.counters",
    request=Nothing,
    answer=dict[str, int],
    scope="shard",
    summary="Return the number of executions by status.",
)
DASHBOARD_WIDGETS = Operation(
    service="projector",
    name="dashboard.widgets",
    request=Nothing,
    answer=ShardWidgets,
    scope="shard",
    summary="Return executions by day, and the newest ones.",
)
SCHEMA_TABLES = Operation(
    service="projector",
    name="schema.tables",
    request=Nothing,
    answer=SchemaTables,
    scope="shard",
    summary="List the tables of our schema.",
)


# -- results -----------------------------------------------------------------------------


class ResultPut(BaseModel):
    """A result to store: its data, or a subject from which the data is fetched in parts.

    Under the sender's ``result_id`` the request may be repeated (W13).
    """

    model_config = MODEL

    execution_id: int
    name: str
    data: Json = None
    data_at: str | None = Field(default=None, description="a subject; wins over `data`")
    result_id: int | None = None
    scope: str | None = None
    source_step: str | None = None
    expires_seconds: float | None = Field(
        default=None, description="life of the result; as long as the execution's if absent"
    )


class ResultRef(BaseModel):
    """The reference of a stored result: ``noetl://execution/<id>/result/<name>/<id>``."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [{"ref": "noetl://execution/325077236512452608/result/fetch/17"}]
        },
    )

    ref: str


class NamedResult(BaseModel):
    """The name of a result of an execution."""

    model_config = MODEL

    execution_id: int
    name: str


class ResultFilter(BaseModel):
    """Results of an execution, of one scope or name where given."""

    model_config = MODEL

    execution_id: int
    scope: str | None = None
    name: str | None = None


class StoreSizes(BaseModel):
    """Stored results by place."""

    model_config = MODEL

    stores: list[StoreSize]


RESULT_PUT = Operation(
    service="projector",
    name="result.put",
    request=ResultPut,
    answer=ResultPutAnswer,
    scope="shard",
    summary="Store a result.",
)
RESULT_RESOLVE = Operation(
    service="projector",
    name="result.resolve",
    request=ResultRef,
    answer=_JSON,
    scope="shard",
    summary="Return the stored value itself.",
)
RESULT_GET = Operation(
    service="projector",
    name="result.get",
    request=NamedResult,
    answer=StoredResult,
    scope="shard",
    summary="Return the newest result of a name with its data.",
)
RESULT_LIST = Operation(
    service="projector",
    name="result.list",
    request=ResultFilter,
    answer=ResultList,
    scope="shard",
    summary="List results of an execution without their data.",
)
RESULT_DELETE = Operation(
    service="projector",
    name="result.delete",
    request=ResultFilter,
    answer=DeletedResults,
    scope="shard",
    summary="Delete results of an execution.",
)
RESULT_STATS = Operation(
    service="projector",
    name="result.stats",
    request=Nothing,
    answer=StoreSizes,
    scope="shard",
    summary="Return the number and size of stored results by place.",
)


# -- variables ---------------------------------------------------------------------------


class VarName(BaseModel):
    """The name of a variable of an execution."""

    model_config = MODEL

    execution_id: int
    var_name: str


class VarsSet(BaseModel):
    """Variables to write; the last of a name counts."""

    model_config = MODEL

    execution_id: int
    variables: list[NewVar]


VARS_LIST = Operation(
    service="projector",
    name="vars.list",
    request=ExecutionName,
    answer=list[VarEntry],
    scope="shard",
    summary="List variables by name without counting an access.",
)
VARS_GET = Operation(
    service="projector",
    name="vars.get",
    request=VarName,
    answer=VarEntry,
    scope="shard",
    summary="Return a variable and count the access.",
)
VARS_SET = Operation(
    service="projector",
    name="vars.set",
    request=VarsSet,
    answer=VarsSetAnswer,
    scope="shard",
    summary="Write variables; those before one of an unknown type are kept.",
)
VARS_DELETE = Operation(
    service="projector",
    name="vars.delete",
    request=VarName,
    answer=VarDeletedAnswer,
    scope="shard",
    summary="Delete a variable.",
)
VARS_CLEAR = Operation(
    service="projector",
    name="vars.clear",
    request=ExecutionName,
    answer=VarsDeletedAnswer,
    scope="shard",
    summary="Delete all variables of an execution.",
)


# -- SQL ---------------------------------------------------------------------------------


class SqlStatement(BaseModel):
    """One statement, and the database to run it on: our own if none is named."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
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


class SqlText(BaseModel):
    """The body as text: reading it on the way would round its numbers."""

    model_config = SECRET_MODEL

    text: str


SQL_EXECUTE = Operation(
    service="projector",
    name="sql.execute",
    request=SqlStatement,
    answer=SqlText,
    scope="shard",
    summary="Run a statement; the text of the answer is the body for the client.",
    repeatable=False,
)
SESSIONS_VALIDATE = Operation(
    service="projector",
    name="sessions.validate",
    request=SessionRequest,
    answer=SessionAnswer,
    scope="shard",
    summary="Return the user of a browser session's token.",
)
