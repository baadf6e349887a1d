"""Open a database, and keep its statements to some directories and limits."""

import threading
from pathlib import Path
from typing import Any

import duckdb

from noetl_worker.tools.errors import ToolError
from noetl_worker.tools.sql.duckdb.host.errors import duckdb_error, duckdb_errors
from noetl_worker.tools.sql.names import literal, quoted

type Connection = duckdb.DuckDBPyConnection
type Attached = dict[str, Any]
"""Kind, name, source, read_only and is_server of a database or file."""

# Calls of a process share the instance of a file: only one of them makes its settings.
_CONFINING = threading.Lock()
# What queries may set: how values are read and shown, no limits.
_FREE_SETTINGS = (
    "calendar", "default_null_order", "default_order", "integer_division",
    "order_by_non_integer_literal", "preserve_insertion_order", "timezone",
)  # fmt: skip
_FILES = {"csv": "read_csv", "json": "read_json", "parquet": "read_parquet"}
_EXTENSIONS = frozenset({"postgres", "sqlite"})
_INSTALLED = "SELECT 1 FROM duckdb_extensions() WHERE extension_name = $1 AND installed"


def connect(path: str, config: dict[str, Any]) -> Connection:
    """Open a database.

    Raises:
        ToolError: it can't be opened.
    """
    with duckdb_errors("Failed to open database"):
        return duckdb.connect(path, config=config)


def confine(connection: Connection, paths: list[str]) -> None:
    """Keep queries to some directories and to the limits; for good, and for the whole instance.

    Raises:
        ToolError: it can't be done.
    """
    with duckdb_errors("Failed to open database"), _CONFINING:
        is_done = connection.execute("SELECT current_setting('lock_configuration')").fetchone()
        if is_done == (True,):  # another call has the file open
            return
        real = dict.fromkeys((*paths, *(str(Path(path).resolve()) for path in paths)))
        connection.execute(f"SET allowed_directories = [{', '.join(map(literal, real))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute(f"SET allowed_configs = [{', '.join(map(literal, _FREE_SETTINGS))}]")
        connection.execute("SET lock_configuration = true")


def attach_servers(connection: Connection, wanted: list[Attached]) -> None:
    """Load the extensions that are needed, and attach servers.

    Raises:
        ToolError: one of them can't be had.
    """
    for one in wanted:
        if one["kind"] in _EXTENSIONS:
            _load(connection, one)
    _attach(connection, [one for one in wanted if one["is_server"]])


def attach_files(connection: Connection, wanted: list[Attached]) -> None:
    """Attach database files, and make views of others that are gone with the connection.

    Raises:
        ToolError: one of them can't be had, or is where queries may not look.
    """
    _attach(connection, [one for one in wanted if not one["is_server"]])


def _attach(connection: Connection, wanted: list[Attached]) -> None:
    for one in wanted:
        try:
            connection.execute(_statement(one))
        except duckdb.Error as error:
            if one["is_server"]:
                # The text of this one may quote the login.
                raise ToolError("Database error", f"Failed to attach `{one['name']}`") from None
            raise duckdb_error(f"Failed to attach `{one['name']}`", error) from error


def _load(connection: Connection, one: Attached) -> None:
    kind, name = one["kind"], one["name"]
    # Asked first: loading one that isn't there would go and look for it on the network.
    found = connection.execute(_INSTALLED, [f"{kind}_scanner"]).fetchone()
    if found is None:
        raise ToolError(
            "Configuration error",
            f"duckdb attach `{name}`: the extension `{kind}` is not installed in this "
            "worker; `INSTALL` fetches it from the network, or put it into "
            "NOETL_WORKER_DUCKDB_EXTENSION_DIRECTORY",
        )
    with duckdb_errors(f"Failed to attach `{name}`"):
        connection.execute(f"LOAD {kind}")


def _statement(one: Attached) -> str:
    name, source = quoted(one["name"]), literal(one["source"])
    if one["kind"] in _FILES:
        return f"CREATE TEMP VIEW {name} AS SELECT * FROM {_FILES[one['kind']]}({source})"
    options = [f"TYPE {one['kind']}"] + (["READ_ONLY"] if one["read_only"] else [])
    return f"ATTACH {source} AS {name} ({', '.join(options)})"
