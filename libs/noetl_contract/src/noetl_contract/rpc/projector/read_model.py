"""Operations of the projector about the read model and what is counted from it."""

from pydantic import BaseModel

from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.system.internal import AdvanceAnswer, RebuildAnswer
from noetl_contract.rpc.models import MODEL, Nothing
from noetl_contract.rpc.operation import Operation

__all__ = [
    "DASHBOARD_COUNTERS",
    "DASHBOARD_WIDGETS",
    "PROJECTION_ADVANCE",
    "PROJECTION_REBUILD",
    "SCHEMA_TABLES",
    "AdvanceExecutions",
    "RebuildPage",
    "RecentExecution",
    "SchemaTables",
    "ShardWidgets",
]


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
    started_at: Rfc3339


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
