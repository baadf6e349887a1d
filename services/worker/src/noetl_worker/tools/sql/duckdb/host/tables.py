"""Reading and writing of tables in batches, for `transfer`.

Values travel as text, bytes as base64; the answers name the columns that hold bytes or JSON.
"""

import base64
from typing import Any

import duckdb
from duckdb.sqltypes import DuckDBPyType
from noetl_contract.json import JsonObject

from noetl_worker.tools.sql.columns import conflict, key_positions, matched
from noetl_worker.tools.sql.duckdb.host.errors import duckdb_errors
from noetl_worker.tools.sql.duckdb.host.opening import Connection
from noetl_worker.tools.sql.names import quoted

_KEYS = """
SELECT unnest(constraint_column_names)
FROM duckdb_constraints()
WHERE constraint_type = 'PRIMARY KEY' AND database_name = current_database()
  AND schema_name = $1 AND table_name = $2
"""
_NESTED = frozenset({"list", "array", "struct", "map"})


class TableReader:
    """A query whose rows are fetched in batches."""

    def __init__(self, connection: Connection, request: JsonObject) -> None:
        self._connection = connection
        query = request["query"].rstrip().rstrip(";")
        with duckdb_errors("Query failed"):
            described = connection.execute(f"DESCRIBE\n{query}").fetchall()
            kinds = [duckdb.sqltype(row[1]) for row in described]
            parts = ", ".join(
                f"{_part(number, kind, for_postgres=request['for_postgres'])} AS c{number}"
                for number, kind in enumerate(kinds, start=1)
            )
            connection.execute(f"SELECT {parts} FROM ({query}\n)")
        self._blobs = [number for number, kind in enumerate(kinds) if kind.id == "blob"]
        self.answer: JsonObject = {
            "columns": [row[0] for row in described],
            "types": [str(kind) for kind in kinds],
            "bytes": self._blobs,
            "json": [number for number, kind in enumerate(kinds) if kind.id in _NESTED],
        }

    def fetch(self, size: int) -> list[list[Any]]:
        """Return the next rows; none at the end.

        Raises:
            ToolError: the query fails.
        """
        with duckdb_errors("Failed to fetch row"):
            rows = [list(row) for row in self._connection.fetchmany(size)]
        for number in self._blobs:
            for row in rows:
                if row[number] is not None:
                    row[number] = base64.b64encode(row[number]).decode()
        return rows


class TableWriter:
    """A table that rows go to, made if it isn't there, in one transaction."""

    def __init__(self, connection: Connection, request: JsonObject) -> None:
        self._connection = connection
        with duckdb_errors("Execute failed"):
            self._statement, self.answer = _begun(connection, request)

    def write(self, columns: list[list[str | None]]) -> None:
        """Write one batch, column by column.

        Raises:
            ToolError: a row doesn't fit.
        """
        with duckdb_errors("Execute failed"):
            self._connection.execute(self._statement, columns).fetchall()

    def commit(self) -> None:
        """Make it last.

        Raises:
            ToolError: it can't be done.
        """
        with duckdb_errors("Execute failed"):
            self._connection.execute("COMMIT").fetchall()


def _begun(connection: Connection, request: JsonObject) -> tuple[str, JsonObject]:
    wanted, kinds, given = request["table"], request["types"], request["columns"]
    schema, name = _name(wanted)
    table = f"{quoted(schema)}.{quoted(name)}"
    connection.execute("BEGIN")
    columns = ", ".join(f"{quoted(one)} {kind}" for one, kind in zip(given, kinds, strict=True))
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})").fetchall()
    known = {row[0]: row[1] for row in connection.execute(f"DESCRIBE {table}").fetchall()}
    names = [matched(column, list(known), table=wanted) for column in given]
    key = [matched(column, list(known), table=wanted) for column in request["key"]]
    primary = [row[0] for row in connection.execute(_KEYS, [schema, name]).fetchall()]
    keys = key_positions(names, key or primary, table=wanted, mode=request["mode"])
    values = ", ".join(_value(number, known[one]) for number, one in enumerate(names, start=1))
    if request["mode"] == "replace":
        connection.execute(f"DELETE FROM {table}").fetchall()
    statement = (
        f"INSERT INTO {table} ({', '.join(map(quoted, names))}) "
        f"SELECT {values}{conflict(names, keys)}"
    )
    return statement, {"width": len(names), "keys": keys}


def _part(number: int, kind: DuckDBPyType, *, for_postgres: bool) -> str:
    if kind.id == "blob":
        return f"#{number}"
    if kind.id in _NESTED:
        return f"CAST(to_json(#{number}) AS VARCHAR)"
    text = f"CAST(#{number} AS VARCHAR)"
    is_date = kind.id.startswith(("date", "timestamp"))
    return f"replace({text}, ' (BC)', ' BC')" if for_postgres and is_date else text


def _value(number: int, kind: str) -> str:
    value = f"unnest(${number}::VARCHAR[])"
    if duckdb.sqltype(kind).id in _NESTED:
        value = f"CAST({value} AS JSON)"
    return f"CAST({value} AS {kind})"


def _name(table: str) -> tuple[str, str]:
    schema, _, name = table.rpartition(".")
    return schema.strip('"') or "main", name.strip('"')
