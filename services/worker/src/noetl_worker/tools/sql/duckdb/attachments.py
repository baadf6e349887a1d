"""Other databases and files attached to a `duckdb` call."""

from collections.abc import Mapping
from typing import Any

from noetl_contract.json import JsonObject

from noetl_worker.tools.sql.duckdb.sessions import local_path
from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.sql.postgres.address import PgAddress, address_of

_KINDS = ("csv", "duckdb", "json", "parquet", "postgres", "sqlite")
_LOGIN = ("connection_string", "host", "port", "user", "password", "database")


def attachments(
    config: Mapping[str, Any], *, secrets: Mapping[str, str], base: str | None
) -> list[JsonObject]:
    """Read the ``attach`` list of a configuration, as the processes of DuckDB take it.

    Args:
        config: of the call.
        secrets: passwords by name.
        base: where relative paths begin; None: in the working directory.

    Raises:
        ToolError: an entry doesn't say what is to be attached.
    """
    found: list[JsonObject] = []
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
            source = _pairs(address)
        else:
            source = local_path(fields.text("path"), kind="duckdb attach", base=base)
        found.append(
            {
                "kind": kind,
                "name": name,
                "source": source,
                "read_only": read_only,
                "is_server": kind == "postgres",
            }
        )
    return found


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
