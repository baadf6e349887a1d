"""The transfer tool: move rows between HTTP, databases and places of other packages."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from noetl_contract.json import JsonObject
from noetl_contract.tools import TOOLS

from noetl_worker.tools.sql.duckdb.sessions import DuckDbs, shared_databases
from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.sql.postgres.pools import PgLimits
from noetl_worker.tools.sql.sql_tool import SqlTool
from noetl_worker.tools.sql.transfer.databases import DuckDbPlaces, PgPlaces
from noetl_worker.tools.sql.transfer.places import Place, PlaceKind, installed_places
from noetl_worker.tools.sql.transfer.rows import Rows, planned
from noetl_worker.tools.sql.transfer.sources import http_rows
from noetl_worker.tools.sql.transfer.targets import Writing
from noetl_worker.tools.tool import Tool, ToolContext, ToolError, ToolParts

_HTTP = "http"
# In the order of the messages, also those that no package here brings.
_TITLES: Final = {
    "snowflake": "Snowflake", "postgres": "Postgres", _HTTP: "Http", "duckdb": "DuckDb",
}  # fmt: skip
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

    def __init__(
        self, databases: DuckDbs, places: Mapping[str, PlaceKind], *, most_seconds: float
    ) -> None:
        super().__init__(most_seconds=most_seconds)
        self._databases = databases
        self._places = places

    async def close(self) -> None:
        """Take no more work."""
        await self._databases.close()

    async def fetch(self, fields: SqlFields, context: ToolContext) -> JsonObject:
        """Read all rows of the source and write them to the target, all of them or none."""
        job = self._job(fields)
        writing = _writing(job)
        # Both are looked at before anything is asked or written.
        place = self._places[job.target_type].located(job.target, side="Target", context=context)
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
            async with place.target(writing, plan) as target:
                batch = first
                while batch:
                    await target.write(plan.apply(batch))
                    data["rows_transferred"] += len(batch)
                    data["chunks_processed"] += 1
                    batch = await anext(rows.batches, [])
        return data

    @asynccontextmanager
    async def _source(self, job: _Job, context: ToolContext) -> AsyncIterator[Rows]:
        if job.source_type == _HTTP:
            wanted = list(dict.fromkeys(job.mapping.values()))
            yield await http_rows(job.source, context, wanted=wanted, size=job.size)
            return
        query = SqlFields(job.source, kind="transfer").optional_text("query")
        if not query:
            raise ToolError("Configuration error", "Source query required")
        place: Place = self._places[job.source_type].located(
            job.source, side="Source", context=context
        )
        async with place.rows(query, reader=job.target_type, size=job.size) as rows:
            yield rows

    def _job(self, fields: SqlFields) -> _Job:
        fields.check_required()
        source, target = fields.mapping("source"), fields.mapping("target")
        source_type, target_type = self._type(source), self._type(target)
        is_read = source_type == _HTTP or source_type in self._places
        if not is_read or target_type not in self._places:
            raise ToolError(
                "Configuration error",
                f"Unsupported transfer direction: {self._title(source_type)} to "
                f"{self._title(target_type)}{self._advice(source_type, target_type)}",
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

    def _type(self, endpoint: JsonObject) -> str:
        fields = SqlFields(endpoint, kind="transfer")
        given = [name for name in ("type", "tool", "kind") if name in endpoint]
        if not given:
            raise fields.refuse("missing field `type`")
        if len(given) > 1:
            raise fields.refuse("duplicate field `type`")
        return fields.choice(given[0], tuple({**_TITLES, **self._places}), default="")

    def _title(self, kind: str) -> str:
        return self._places[kind].title if kind in self._places else _TITLES[kind]

    def _advice(self, *kinds: str) -> str:
        missing = next((kind for kind in kinds if kind not in {_HTTP, *self._places}), None)
        return f" ({TOOLS[missing].advice})" if missing is not None else ""


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


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    settings = parts.settings
    databases = shared_databases(parts)
    own: dict[str, PlaceKind] = {
        "postgres": PgPlaces(PgLimits.of(settings)),
        "duckdb": DuckDbPlaces(databases),
    }
    others = installed_places(parts)
    if taken := own.keys() & others.keys():
        raise ValueError(f"two places of kind '{min(taken)}' for transfer")
    return Transfer(databases, {**own, **others}, most_seconds=settings.worker_sql_timeout_seconds)
