"""Operations of the orchestrator: children, rows that decide nothing, upkeep."""

from pydantic import Field, TypeAdapter

from noetl_contract.http.catalog.subscriptions import SubscriptionBody
from noetl_contract.http.executions.events import EventAnswer, EventBatchAnswer
from noetl_contract.http.executions.why import OpenJoins
from noetl_contract.http.system.health import PoolStatusAnswer
from noetl_contract.http.system.internal import ProjectAnswer
from noetl_contract.http.workers.runtimes import RunningCommand
from noetl_contract.ingress import EventsMessage, Lineage
from noetl_contract.json import Json
from noetl_contract.model import Model, Struct
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation


class ChildRequest(Struct):
    """Ask the parent's shard which execution a child start stands for (L6).

    ``event_id`` is the command whose run starts the child, None when no command is known;
    ``child_id`` the id to use for a new child; ``payload_digest`` tells equal payloads.
    """

    execution_id: int
    event_id: int | None = None
    child_id: int
    path: str
    payload_digest: str = ""


class ChildReserved(Lineage):
    """The id under which the child starts: an earlier run's if it started the same child.

    Of a child on the parent's shard only ``owner`` and ``namespace`` are told.
    """

    child_id: int


class RunsQuery(Model):
    """Runs of one worker, to learn which of them are over."""

    runs: list[RunningCommand] = Field(max_length=1000)


class RunsOver(Model):
    """Those whose command has ended or is another run's by now."""

    over: list[RunningCommand]


class DemandQuery(Struct):
    """The pool whose open commands are counted; all pools that have some, if absent."""

    pool: str | None = None


class PoolDemand(Struct):
    """The open commands of a pool on one shard.

    Attributes:
        oldest_seconds: age of the oldest that waits and is not withheld by a pause.
    """

    pool: str
    waiting: int
    running: int
    oldest_seconds: float = 0.0


class PoolDemands(Struct):
    """Pools with open commands, those with the most first."""

    pools: list[PoolDemand]


class JoinsQuery(Struct):
    """The execution whose waiting joins are asked for."""

    execution_id: int


class LogEnvelope(Struct):
    """A row to append as it stands; the execution's other rows give a missing catalog id.

    ``created_at`` is RFC 3339; now if absent.
    """

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
    created_at: str | None = None


class ProjectRows(Struct):
    """Rows to append; with ``only_to_known`` to logs only that have rows already."""

    events: list[LogEnvelope]
    only_to_known: bool = False


class SubscriptionRegistration(Struct):
    """The path of a subscription document; ``subscription_id`` is used if it is new."""

    subscription_id: int
    path: str
    catalog_id: int


class SubscriptionChange(Struct):
    """The action: ``activate``, ``pause``, ``resume``, ``drain`` or ``deactivate``."""

    subscription_id: int
    action: str


class LogPurgeRequest(Struct):
    """How many days of ended commands and of the log to keep; 0 or less keeps all."""

    command_retention_days: int = 0
    event_retention_days: int = 0


class LogPurged(Struct):
    """How many commands were removed, and which partitions of the log."""

    commands_purged: int
    event_partitions_dropped: list[str]


_POSTED: TypeAdapter[EventAnswer | EventBatchAnswer] = TypeAdapter(EventAnswer | EventBatchAnswer)

CHILD = Operation("orchestrator", "child", ChildRequest, ChildReserved)
"""Reserve the id of a child execution at the shard of its parent."""
RUNS_OVER = Operation("orchestrator", "runs.over", RunsQuery, RunsOver)
"""Return those runs of a worker that are over."""
DEMAND = Operation("orchestrator", "demand", DemandQuery, PoolDemands)
"""Count the commands of pools that wait and that run."""
JOINS = Operation("orchestrator", "joins", JoinsQuery, OpenJoins)
"""Return the joins of an execution that wait, and the open steps before them."""
POOL_STATUS = Operation("orchestrator", "pool.status", Nothing, PoolStatusAnswer)
"""Return the figures of the pool that turns run on."""
LOG_PROJECT = Operation("orchestrator", "log.project", ProjectRows, ProjectAnswer)
"""Append rows that decide nothing; known event ids count as duplicates."""
LOG_POST = Operation("orchestrator", "log.post", EventsMessage, _POSTED)
"""Append posted events to a log that no playbook wrote; 404 where it has no row."""
SUBSCRIPTION_REGISTER = Operation(
    "orchestrator", "subscription.register", SubscriptionRegistration, SubscriptionBody
)
"""Begin a subscription, or return the open one of its path."""
SUBSCRIPTION_CHANGE = Operation(
    "orchestrator", "subscription.change", SubscriptionChange, SubscriptionBody
)
"""Change the state of a subscription if its present state allows it."""
PURGE = Operation("orchestrator", "purge", LogPurgeRequest, LogPurged)
"""Remove ended commands and partitions of the log that are older than asked."""
