"""Other databases and files attached to a `duckdb` call."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from noetl_worker.tools.sql.duckdb.sessions import duckdb_error, duckdb_errors, local_path
from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.sql.names import literal, quoted
from noetl_worker.tools.sql.postgres.address import PgAddress, address_of
from noetl_worker.tools.tool import ToolError

_FILES = {"csv": "read_csv", "json": "read_json", "parquet": "read_parquet"}
_KINDS = ("csv", "duckdb", "json", "parquet", "postgres", "sqlite")
_EXTENSIONS = frozenset({"postgres", "sqlite"})
_INSTALLED = "SELECT 1 FROM duckdb_extensions() WHERE extension_name = $1 AND installed"
_LOGIN = ("connection_string", "host", "port", "user", "password", "database")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One database or file and the name it has in the query."""

    kind: str
    name: str
    path: str = ""
    address: PgAddress | None = None
    read_only: bool = True


def attachments(config: Mapping[str, Any], *, secrets: Mapping[str, str]) -> list[Attachment]:
    """Read the ``attach`` list of a configuration.

    Raises:
        ToolError: an entry doesn't say what is to be attached.
    """
    found: list[Attachment] = []
    for entry in SqlFields(dict(config), kind="duckdb").items("attach"):
        if not isinstance(entry, dict):
            raise SqlFields({}, kind="duckdb").refuse("an entry of `attach` is not a map")
        fields = SqlFields(entry, kind="duckdb attach")
        kind = fields.choice("type", _KINDS, default="duckdb")
        name = fields.text("name")
        read_only = fields.flag("read_only", default=True)
        if kind == "postgres":
            # Its own login, else the one that `auth` gave to the call.
            own = any(entry.get(key) is not None for key in _LOGIN)
            address = address_of(
                entry if own else config, secrets=secrets, kind=f"duckdb attach `{name}`"
            )
            found.append(Attachment(kind=kind, name=name, address=address, read_only=read_only))
            continue
        path = local_path(fields.text("path"), kind="duckdb attach")
        found.append(Attachment(kind=kind, name=name, path=path, read_only=read_only))
    return found


def attach_servers(connection: duckdb.DuckDBPyConnection, wanted: list[Attachment]) -> None:
    """Load the extensions that are needed, and attach servers.

    Raises:
        ToolError: one of them can't be had.
    """
    for one in wanted:
        if one.kind in _EXTENSIONS:
            _load(connection, one)
    _attach(connection, [one for one in wanted if one.address is not None])


def attach_files(connection: duckdb.DuckDBPyConnection, wanted: list[Attachment]) -> None:
    """Attach database files, and make views of others that are gone with the connection.

    Raises:
        ToolError: one of them can't be had, or is where queries may not look.
    """
    _attach(connection, [one for one in wanted if one.address is None])


def _attach(connection: duckdb.DuckDBPyConnection, wanted: list[Attachment]) -> None:
    for one in wanted:
        try:
            connection.execute(_statement(one))
        except duckdb.Error as error:
            if one.address is not None:
                # The text of this one may quote the login.
                raise ToolError("Database error", f"Failed to attach `{one.name}`") from None
            raise duckdb_error(f"Failed to attach `{one.name}`", error) from error


def _load(connection: duckdb.DuckDBPyConnection, one: Attachment) -> None:
    # Asked first: loading one that isn't there would go and look for it on the network.
    found = connection.execute(_INSTALLED, [f"{one.kind}_scanner"]).fetchone()
    if found is None:
        raise ToolError(
            "Configuration error",
            f"duckdb attach `{one.name}`: the extension `{one.kind}` is not installed in this "
            "worker; `INSTALL` fetches it from the network, or put it into "
            "NOETL_WORKER_DUCKDB_EXTENSION_DIRECTORY",
        )
    with duckdb_errors(f"Failed to attach `{one.name}`"):
        connection.execute(f"LOAD {one.kind}")


def _statement(one: Attachment) -> str:
    name = quoted(one.name)
    if one.kind in _FILES:
        return f"CREATE TEMP VIEW {name} AS SELECT * FROM {_FILES[one.kind]}({literal(one.path)})"
    options = [f"TYPE {one.kind}"] + (["READ_ONLY"] if one.read_only else [])
    source = one.path if one.address is None else _pairs(one.address)
    return f"ATTACH {literal(source)} AS {name} ({', '.join(options)})"


def _pairs(address: PgAddress) -> str:
    given = {
        "host": address.host,
        "port": str(address.port),
        "user": address.user,
        "password": address.password,
        "dbname": address.database,
        **dict(address.options),
    }
    return " ".join(
        "{}='{}'".format(name, value.replace("\\", "\\\\").replace("'", "\\'"))
        for name, value in given.items()
    )
