"""Statements of a call, and the result of the last one."""

from typing import Any

import duckdb
from noetl_contract.json import JsonObject
from noetl_pg.sql.text import is_row_query, split_statements

from noetl_worker import jsonb
from noetl_worker.tools.sql.duckdb.host.errors import duckdb_error, duckdb_errors
from noetl_worker.tools.sql.duckdb.host.opening import Connection, attach_files
from noetl_worker.tools.sql.duckdb.host.values import readable, reader
from noetl_worker.tools.sql.result import RowBuffer

_FETCHED_ROWS = 500
_CHANGES = frozenset(
    {duckdb.StatementType.INSERT, duckdb.StatementType.UPDATE, duckdb.StatementType.DELETE}
)
# Raised before anything ran; the others are about running.
_UNPREPARED = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ParserException,
    duckdb.SyntaxException,
    duckdb.InvalidInputException,
)


def run_script(connection: Connection, script: JsonObject) -> JsonObject:
    """Run statements; the last one decides the result.

    Args:
        connection: an open database.
        script: ``query``, ``params``, ``as_objects``, ``attach`` and ``result_bytes``.

    Raises:
        ToolError: a statement fails, or the result is too large.
    """
    attach_files(connection, script["attach"])
    statements = split_statements(script["query"])
    if not statements:
        return {"affected_rows": 0}
    *leading, last = statements
    for statement in leading:
        with duckdb_errors("Batch statement failed"):
            _drain(connection.execute(statement))
    params = [_param(value) for value in script["params"]]
    try:
        if is_row_query(last):
            return _fetch(connection, last, params, script)
        return {"affected_rows": _execute(connection, last, params)}
    except _UNPREPARED as error:
        raise duckdb_error("Failed to prepare query", error) from error
    except duckdb.Error as error:
        prefix = "Query failed" if is_row_query(last) else "Execute failed"
        raise duckdb_error(prefix, error) from error


def _fetch(connection: Connection, sql: str, params: list[Any], script: JsonObject) -> JsonObject:
    columns, readers = None, None
    if _is_select(connection, sql):
        # Bound, not run: its types show what to ask for. A comment may come first.
        described = connection.execute(f"DESCRIBE\n{sql}", params or None).fetchall()
        columns = [row[0] for row in described]
        kinds = [duckdb.sqltype(row[1]) for row in described]
        readers = [reader(kind) for kind in kinds]
        sql = readable(sql, kinds)
    result = connection.execute(sql, params or None)
    if columns is None or readers is None:
        # A change behind a `WITH`: what it counts or returns is its result.
        columns = [column[0] for column in result.description or []]
        readers = [reader(column[1]) for column in result.description or []]
    rows = RowBuffer(columns, as_objects=script["as_objects"], most_bytes=script["result_bytes"])
    with duckdb_errors("Failed to fetch row"):
        while found := result.fetchmany(rows.wanted):
            rows.add(
                [[read(value) for read, value in zip(readers, row, strict=True)] for row in found]
            )
    return rows.data()


def _is_select(connection: Connection, sql: str) -> bool:
    kinds = [statement.type for statement in connection.extract_statements(sql)]
    return kinds == [duckdb.StatementType.SELECT]


def _execute(connection: Connection, sql: str, params: list[Any]) -> int:
    is_change = bool({one.type for one in connection.extract_statements(sql)} & _CHANGES)
    result = connection.execute(sql, params or None)
    count = result.rowcount
    found = _drain(result)
    if count >= 0:
        return count
    # What `RETURNING` returned is what was changed.
    return found if is_change else 0


def _drain(result: Connection) -> int:
    """Run a statement to its end, which it may reach only as its rows are taken."""
    count = 0
    while rows := result.fetchmany(_FETCHED_ROWS):
        count += len(rows)
    return count


def _param(value: Any) -> Any:
    """Return a value for the driver; objects and lists are JSON text."""
    return jsonb.encode(value).decode() if isinstance(value, dict | list) else value
