"""The databases that the worker itself moves rows between."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from noetl_contract.json import JsonObject

from noetl_worker.tools.sql.duckdb.sessions import DuckDbs, local_path
from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.sql.postgres.address import PgAddress, address_of, parse_address
from noetl_worker.tools.sql.postgres.pools import PgLimits
from noetl_worker.tools.sql.transfer.places import Place, Side
from noetl_worker.tools.sql.transfer.rows import Plan, Rows
from noetl_worker.tools.sql.transfer.sources import duckdb_rows, postgres_rows
from noetl_worker.tools.sql.transfer.targets import Target, Writing, duckdb_target, postgres_target
from noetl_worker.tools.tool import ToolContext, ToolError

_POSTGRES = "postgres"


@dataclass(frozen=True, slots=True)
class _PgPlace:
    address: PgAddress
    limits: PgLimits

    def rows(self, query: str, *, reader: str, size: int) -> AbstractAsyncContextManager[Rows]:
        return postgres_rows(
            self.address,
            query,
            limits=self.limits,
            for_duckdb=reader != _POSTGRES,
            size=size,
        )

    def target(self, writing: Writing, plan: Plan) -> AbstractAsyncContextManager[Target]:
        return postgres_target(self.address, writing, plan, limits=self.limits)


@dataclass(frozen=True, slots=True)
class _DuckDbPlace:
    databases: DuckDbs
    path: str | None
    """None for memory."""
    execution: int

    def rows(self, query: str, *, reader: str, size: int) -> AbstractAsyncContextManager[Rows]:
        return duckdb_rows(
            self.databases,
            self.path,
            query,
            execution=self.execution,
            for_postgres=reader == _POSTGRES,
            size=size,
        )

    def target(self, writing: Writing, plan: Plan) -> AbstractAsyncContextManager[Target]:
        return duckdb_target(self.databases, self.path or "", writing, plan)


@dataclass(frozen=True, slots=True)
class PgPlaces:
    """PostgreSQL databases."""

    limits: PgLimits
    title: str = "Postgres"

    def located(self, endpoint: JsonObject, *, side: Side, context: ToolContext) -> Place:
        """Read an address."""
        connection = SqlFields(endpoint, kind="transfer").optional_text("connection")
        if connection:
            return _PgPlace(parse_address(connection), self.limits)
        if not endpoint.get("connection_string") and not endpoint.get("host"):
            raise ToolError("Configuration error", f"{side} connection string required")
        address = address_of(endpoint, secrets=context.secrets, kind="transfer")
        return _PgPlace(address, self.limits)


@dataclass(frozen=True, slots=True)
class DuckDbPlaces:
    """DuckDB databases: files, or memory for a source."""

    databases: DuckDbs
    title: str = "DuckDb"

    def located(self, endpoint: JsonObject, *, side: Side, context: ToolContext) -> Place:
        """Read a path."""
        fields = SqlFields(endpoint, kind="transfer")
        path = fields.optional_text("connection") or fields.optional_text("db_path")
        if path and path != ":memory:":
            return _DuckDbPlace(
                self.databases, local_path(path, kind="transfer"), context.execution_id
            )
        if side == "Target":
            raise ToolError("Configuration error", f"{side} connection string required")
        return _DuckDbPlace(self.databases, None, context.execution_id)
