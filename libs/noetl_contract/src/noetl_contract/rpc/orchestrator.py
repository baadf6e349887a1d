"""Operations of the orchestrator: claims, children, rows that decide nothing, upkeep."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from noetl_contract.http.catalog.subscriptions import SubscriptionBody
from noetl_contract.http.executions.events import EventAnswer, EventBatchAnswer
from noetl_contract.http.system.health import PoolStatusAnswer
from noetl_contract.http.system.internal import ProjectAnswer
from noetl_contract.http.workers.commands import ClaimAnswer
from noetl_contract.ingress import EventsMessage
from noetl_contract.json import Json
from noetl_contract.rpc.models import MODEL, Nothing
from noetl_contract.rpc.operation import Operation

__all__ = [
    "CHILD",
    "CLAIM",
    "LOG_POST",
    "LOG_PROJECT",
    "POOL_STATUS",
    "PURGE",
    "SUBSCRIPTION_CHANGE",
    "SUBSCRIPTION_REGISTER",
    "ChildRequest",
    "ChildReserved",
    "ClaimFence",
    "ClaimGranted",
    "ClaimRequest",
    "ClaimRetry",
    "LogEnvelope",
    "LogPurgeRequest",
    "LogPurged",
    "ProjectRows",
    "SubscriptionChange",
    "SubscriptionRegistration",
]


class ClaimRequest(BaseModel):
    """A worker asks for a command; ``instance`` is absent over HTTP.

    ``after_start`` says that a start over the fast path was published and is unanswered.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "execution_id": 325077236512452608,
                    "event_id": 325077236516646912,
                    "worker_id": "w-1",
                    "instance": "a1",
                    "after_start": False,
                }
            ]
        },
    )

    execution_id: int | None = None
    event_id: int
    worker_id: str
    instance: str | None = None
    after_start: bool = False


class ClaimFence(BaseModel):
    """The fence of a run over the fast path: the worker repeats it in start and outcome."""

    model_config = MODEL

    v: Literal[1] = 1
    attempts: int
    shard: int


class ClaimGranted(ClaimAnswer):
    """The command, with the fence when the claim named an instance."""

    fast: ClaimFence | None = None


class ClaimRetry(BaseModel):
    """The start that took the command may be on its way: claim again when it had time to arrive."""

    model_config = MODEL

    status: Literal["retry"]


class ChildRequest(BaseModel):
    """Ask the parent's shard which execution a child start stands for (L6).

    ``event_id`` is the command whose run starts the child, None when no command is known;
    ``child_id`` the id to use for a new child; ``payload_digest`` tells equal payloads.
    """

    model_config = MODEL

    execution_id: int
    event_id: int | None = None
    child_id: int
    path: str
    payload_digest: str = ""


class ChildReserved(BaseModel):
    """The id under which the child starts: an earlier run's if it started the same child."""

    model_config = MODEL

    child_id: int
    trace: Json = None


class LogEnvelope(BaseModel):
    """A row to append as it stands; the execution's other rows give a missing catalog id."""

    model_config = MODEL

    event_id: int
    execution_id: int
    catalog_id: int | None = None
    parent_event_id: int | None = None
    event_type: str | None = None
    node_id: str | None = None
    node_name: str | None = None
    node_type: str | None = None
    status: str | None = None
    error: str | None = None
    stack_trace: str | None = None
    duration: float | None = None
    context: Json = None
    result: Json = None
    meta: Json = None
    tenant_id: str | None = None
    organization_id: str | None = None
    created_at: str | None = Field(default=None, description="RFC 3339; now if absent")


class ProjectRows(BaseModel):
    """Rows to append; with ``only_to_known`` to logs only that have rows already."""

    model_config = MODEL

    events: list[LogEnvelope]
    only_to_known: bool = False


class SubscriptionRegistration(BaseModel):
    """The path of a subscription document; ``subscription_id`` is used if it is new."""

    model_config = MODEL

    subscription_id: int
    path: str
    catalog_id: int


class SubscriptionChange(BaseModel):
    """The action: ``activate``, ``pause``, ``resume``, ``drain`` or ``deactivate``."""

    model_config = MODEL

    subscription_id: int
    action: str


class LogPurgeRequest(BaseModel):
    """How many days of ended commands and of the log to keep; 0 or less keeps all."""

    model_config = MODEL

    command_retention_days: int = 0
    event_retention_days: int = 0


class LogPurged(BaseModel):
    """How many commands were removed, and which partitions of the log."""

    model_config = MODEL

    commands_purged: int
    event_partitions_dropped: list[str]


_CLAIMED: TypeAdapter[ClaimGranted | ClaimRetry] = TypeAdapter(ClaimGranted | ClaimRetry)
_POSTED: TypeAdapter[EventAnswer | EventBatchAnswer] = TypeAdapter(EventAnswer | EventBatchAnswer)

CLAIM = Operation(
    service="orchestrator",
    name="claim",
    request=ClaimRequest,
    answer=_CLAIMED,
    scope="shard",
    summary="Give a command to a worker; 409 when it is not to be had, 503 when later.",
)
CHILD = Operation(
    service="orchestrator",
    name="child",
    request=ChildRequest,
    answer=ChildReserved,
    scope="shard",
    summary="Reserve the id of a child execution at the shard of its parent.",
)
POOL_STATUS = Operation(
    service="orchestrator",
    name="pool.status",
    request=Nothing,
    answer=PoolStatusAnswer,
    scope="shard",
    summary="Return the figures of the pool that turns run on.",
)
LOG_PROJECT = Operation(
    service="orchestrator",
    name="log.project",
    request=ProjectRows,
    answer=ProjectAnswer,
    scope="shard",
    summary="Append rows that decide nothing; known event ids count as duplicates.",
)
LOG_POST = Operation(
    service="orchestrator",
    name="log.post",
    request=EventsMessage,
    answer=_POSTED,
    scope="shard",
    summary="Append posted events to a log that no playbook wrote; 404 where it has no row.",
)
SUBSCRIPTION_REGISTER = Operation(
    service="orchestrator",
    name="subscription.register",
    request=SubscriptionRegistration,
    answer=SubscriptionBody,
    scope="shard",
    summary="Begin a subscription, or return the open one of its path.",
)
SUBSCRIPTION_CHANGE = Operation(
    service="orchestrator",
    name="subscription.change",
    request=SubscriptionChange,
    answer=SubscriptionBody,
    scope="shard",
    summary="Change the state of a subscription if its present state allows it.",
)
PURGE = Operation(
    service="orchestrator",
    name="purge",
    request=LogPurgeRequest,
    answer=LogPurged,
    scope="shard",
    summary="Remove ended commands and partitions of the log that are older than asked.",
)
