"""The transfer tool: move rows between HTTP, PostgreSQL and DuckDB."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from noetl_contract.json import JsonObject

from noetl_worker.tools.sql.duckdb.sessions import DuckDbs, local_path, shared_databases
from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.sql.postgres.address import PgAddress, address_of, parse_address
from noetl_worker.tools.sql.postgres.pools import PgLimits
from noetl_worker.tools.sql.sql_tool import SqlTool
from noetl_worker.tools.sql.transfer.rows import Plan, Rows, planned
from noetl_worker.tools.sql.transfer.sources import duckdb_rows, http_rows, postgres_rows
from noetl_worker.tools.sql.transfer.targets import Target, Writing, duckdb_target, postgres_target
from noetl_worker.tools.tool import Tool, ToolContext, ToolError, ToolParts

_NAMES = {"snowflake": "Snowflake", "postgres": "Postgres", "http": "Http", "duckdb": "DuckDb"}
_MODES = ("append", "replace", "upsert")
_DEFAULT_CHUNK = 1000
_LARGEST_CHUNK = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    source: JsonObject
    source_type: str
    target: JsonObject
    target_type: str
    mapping: dict[str, str]
    mode: str
    size: int


class Transfer(SqlTool):
    """The transfer tool."""

    kind = "transfer"

    def __init__(self, databases: DuckDbs, limits: PgLimits, *, most_seconds: float) -> None:
        super().__init__(most_seconds=most_seconds)
        self._databases = databases
        self._limits = limits

    async def close(self) -> None:
        """Take no more work."""
        await self._databases.close()

    async def fetch(self, fields: SqlFields, context: ToolContext) -> JsonObject:
        """Read all rows of the source and write them to the target, all of them or none."""
        job = _job(fields)
        writing = _writing(job)
        # Both are looked at before anything is asked or written.
        place = _place(job.target, job.target_type, "Target", context)
        data: JsonObject = {
            "direction": f"{job.source_type}_to_{job.target_type}",
            "source_type": job.source_type,
            "target_type": job.target_type,
            "mode": job.mode,
            "rows_transferred": 0,
            "chunks_processed": 0,
            "target_table": writing.table,
        }
        async with self._source(job, context) as rows:
            first = await anext(rows.batches, None)
            if first is None:
                return data
            plan = planned(rows, job.mapping)
            data["columns"] = plan.columns
            async with self._opened(place, writing, plan) as target:
                batch = first
                while batch:
                    await target.write(plan.apply(batch))
                    data["rows_transferred"] += len(batch)
                    data["chunks_processed"] += 1
                    batch = await anext(rows.batches, [])
        return data

    @asynccontextmanager
    async def _source(self, job: _Job, context: ToolContext) -> AsyncIterator[Rows]:
        if job.source_type == "http":
            wanted = list(dict.fromkeys(job.mapping.values()))
            yield await http_rows(job.source, context, wanted=wanted, size=job.size)
            return
        query = SqlFields(job.source, kind="transfer").optional_text("query")
        if not query:
            raise ToolError("Configuration error", "Source query required")
        place = _place(job.source, job.source_type, "Source", context)
        if isinstance(place, PgAddress):
            reading = postgres_rows(
                place,
                query,
                limits=self._limits,
                for_duckdb=job.target_type == "duckdb",
                size=job.size,
            )
        else:
            reading = duckdb_rows(
                self._databases,
                place,
                query,
                for_postgres=job.target_type == "postgres",
                size=job.size,
            )
        async with reading as rows:
            yield rows

    def _opened(
        self, place: PgAddress | str | None, writing: Writing, plan: Plan
    ) -> AbstractAsyncContextManager[Target]:
        if isinstance(place, PgAddress):
            return postgres_target(place, writing, plan, limits=self._limits)
        return duckdb_target(self._databases, place or "", writing, plan)


def _job(fields: SqlFields) -> _Job:
    fields.check_required()
    source, target = fields.mapping("source"), fields.mapping("target")
    source_type, target_type = _type(source), _type(target)
    supported = source_type != "snowflake" and target_type in {"postgres", "duckdb"}
    if not supported:
        snowflake = "snowflake" in {source_type, target_type}
        raise ToolError(
            "Configuration error",
            f"Unsupported transfer direction: {_NAMES[source_type]} to {_NAMES[target_type]}"
            + (" (snowflake is not supported by this worker)" if snowflake else ""),
        )
    size = fields.optional_unsigned("chunk_size") or _DEFAULT_CHUNK
    return _Job(
        source=source,
        source_type=source_type,
        target=target,
        target_type=target_type,
        mapping=SqlFields(target, kind="transfer").texts("mapping")
        if target.get("mapping") is not None
        else {},
        mode=fields.choice("mode", _MODES, default="append"),
        size=min(size, _LARGEST_CHUNK),
    )


def _type(endpoint: Mapping[str, Any]) -> str:
    fields = SqlFields(dict(endpoint), kind="transfer")
    given = [name for name in ("type", "tool", "kind") if name in endpoint]
    if not given:
        raise fields.refuse("missing field `type`")
    if len(given) > 1:
        raise fields.refuse("duplicate field `type`")
    return fields.choice(given[0], tuple(_NAMES), default="")


def _writing(job: _Job) -> Writing:
    fields = SqlFields(job.target, kind="transfer")
    table = fields.optional_text("table")
    if not table:
        raise ToolError("Configuration error", "Target table name required")
    key = job.target.get("key")
    keys = [key] if isinstance(key, str) else key or []
    if not isinstance(keys, list) or not all(isinstance(name, str) for name in keys):
        raise fields.refuse("`key` is neither a column nor a list of columns")
    return Writing(table=table, mode=job.mode, key=keys)


def _place(
    endpoint: Mapping[str, Any], kind: str, side: str, context: ToolContext
) -> PgAddress | str | None:
    """Return where an endpoint is: an address, a path, or None for memory."""
    fields = SqlFields(dict(endpoint), kind="transfer")
    connection = fields.optional_text("connection")
    if kind == "duckdb":
        path = connection or fields.optional_text("db_path")
        if path and path != ":memory:":
            return local_path(path, kind="transfer")
        if side == "Target":
            raise ToolError("Configuration error", f"{side} connection string required")
        return None
    if connection:
        return parse_address(connection)
    if not endpoint.get("connection_string") and not endpoint.get("host"):
        raise ToolError("Configuration error", f"{side} connection string required")
    return address_of(endpoint, secrets=context.secrets, kind="transfer")


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    settings = parts.settings
    return Transfer(
        shared_databases(parts),
        PgLimits.of(settings),
        most_seconds=settings.worker_sql_timeout_seconds,
    )
