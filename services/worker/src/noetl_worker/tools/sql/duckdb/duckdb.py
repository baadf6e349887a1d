"""The duckdb tool: run SQL on DuckDB, in a process of its own."""

from noetl_contract.json import JsonObject

from noetl_worker.tools.sql.duckdb.attachments import attachments
from noetl_worker.tools.sql.duckdb.sessions import DuckDbs, local_path, shared_databases
from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.sql.sql_tool import SqlTool
from noetl_worker.tools.tool import Tool, ToolContext, ToolParts

_IN_MEMORY = frozenset({"", ":memory:"})


class DuckDb(SqlTool):
    """The duckdb tool."""

    kind = "duckdb"

    def __init__(self, databases: DuckDbs, *, most_seconds: float, result_bytes: int) -> None:
        super().__init__(most_seconds=most_seconds)
        self._databases = databases
        self._result_bytes = result_bytes

    async def fetch(self, fields: SqlFields, context: ToolContext) -> JsonObject:
        """Run a script; its last statement decides the result."""
        query, params = fields.bound_query()
        as_objects = fields.flag("as_objects", default=True)
        path = fields.optional_text("db_path") or ""
        place = None if path in _IN_MEMORY else local_path(path, kind="duckdb")
        databases = self._databases
        directory = None if place else await databases.directory(context.execution_id)
        attach = attachments(fields.config, secrets=context.secrets, base=directory)
        # A file is where this worker is.
        may_move = context.may_move and place is None
        opened = databases.session(place, directory=directory, attach=attach, may_move=may_move)
        async with opened as session:
            data: JsonObject = await session.ask(
                "script",
                query=query,
                params=params,
                as_objects=as_objects,
                attach=attach,
                result_bytes=self._result_bytes,
            )
        return data

    async def close(self) -> None:
        """End the processes."""
        await self._databases.close()


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    settings = parts.settings
    return DuckDb(
        shared_databases(parts),
        most_seconds=settings.worker_sql_timeout_seconds,
        result_bytes=settings.worker_sql_result_bytes,
    )
