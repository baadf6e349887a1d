"""Operations of the projector about the read model and what is counted from it."""

from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.system.internal import AdvanceAnswer, RebuildAnswer
from noetl_contract.model import Model
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation


class AdvanceExecutions(Model):
    """Executions to move; without ids those that lag behind their logs, up to ``limit``."""

    execution_ids: list[int] | None = None
    limit: int = 1000


class RebuildPage(Model):
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


class SchemaTables(Model):
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
