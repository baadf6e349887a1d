"""The shard map: the database of each shard.

``NOETL_SHARDS`` is a comma-separated list, with one entry per shard in the order of the shards. An
entry consists of ``key=value`` pairs, separated by semicolons. ``NOETL_CLUSTER_DSN`` is one such
entry, for the cluster's own tables. ``password_file`` names a file with the password,
``credential`` a stored credential with the password.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, urlencode

from noetl_common.environment.secret_files import text_of
from noetl_common.errors import Permanent

_KEYS = frozenset(
    {"host", "port", "user", "password", "password_file", "credential", "database", "dbname"}
)
_LABEL = re.compile(r"[^\s/@?#%:\[\]]{1,63}")
_PORT = re.compile(r"\+?[0-9]{1,5}")


class BadShardMap(Permanent):
    """The shard map is invalid; with a wrong map, logs would begin in the wrong database.

    This is not a ``ValueError``, because the settings library would print the input with its
    passwords.
    """

    template = "{variable}: {problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAddress:
    """Address and login of a database.

    Attributes:
        host: name or address of the server, or a folder of sockets.
        port: port of the server.
        user: role that logs in.
        password: password of the role; with a credential, the password of the first attempt.
        database: name of the database.
        password_file: file of the password, which is read again for each connection.
        credential: stored credential that has the password once the first one is refused.
    """

    host: str
    port: int
    user: str
    password: str
    database: str
    password_file: str = ""
    credential: str = ""

    @property
    def place(self) -> tuple[str, int, str]:
        """Host, port and name, which identify a database."""
        return self.host, self.port, self.database

    @property
    def dsn(self) -> str:
        """The address as a URL, for clients of the database."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        database = quote(self.database, safe="")
        if self.host.startswith("/"):
            place = urlencode({"host": self.host, "port": self.port})
            return f"postgres://{login}@/{database}?{place}"
        host = f"[{self.host.strip(' []')}]" if ":" in self.host else self.host.strip()
        return f"postgres://{login}@{host}:{self.port}/{database}"

    @property
    def entry(self) -> str:
        """The address as an entry of the shard map."""
        login = f"password={self.password}"
        if self.password_file:
            login = f"password_file={self.password_file}"
        if self.credential:
            login += f";credential={self.credential}"
        return (
            f"host={self.host};port={self.port};user={self.user};{login};database={self.database}"
        )

    @property
    def environment(self) -> dict[str, str]:
        """The address as the variables that services read."""
        return {
            "POSTGRES_HOST": self.host,
            "POSTGRES_PORT": str(self.port),
            "POSTGRES_USER": self.user,
            "POSTGRES_PASSWORD": self.password,
            "POSTGRES_DB": self.database,
        }

    def __repr__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"


def is_host(text: str) -> bool:
    """Return whether a text can name a server: a name, an address, or a folder of sockets."""
    if text.startswith("/"):
        return True
    if ":" in text:
        try:
            return bool(ip_address(text.strip("[]")))
        except ValueError:
            return False
    return all(_LABEL.fullmatch(label) for label in text.removesuffix(".").split("."))


def parse_shards(text: str, *, variable: str = "NOETL_SHARDS") -> tuple[DatabaseAddress, ...]:
    """Return the databases of the shards in order; an empty tuple for an empty list.

    Raises:
        BadShardMap: an entry is malformed, or two shards share a database.
    """
    entries = [entry.strip() for entry in text.split(",")]
    shards = tuple(
        _parse(entry, variable=variable, entry=number)
        for number, entry in enumerate(filter(None, entries))
    )
    places = [shard.place for shard in shards]
    for index, place in enumerate(places):
        if place in places[:index]:
            problem = f"entries {places.index(place)} and {index} name the same database"
            raise BadShardMap(variable=variable, problem=problem)
    return shards


def parse_address(text: str, *, variable: str = "NOETL_CLUSTER_DSN") -> DatabaseAddress | None:
    """Return the database that a setting names, or None if the setting is empty.

    Raises:
        BadShardMap: the setting is malformed.
    """
    return _parse(text.strip(), variable=variable, entry=None) if text.strip() else None


def _parse(text: str, *, variable: str, entry: int | None) -> DatabaseAddress:
    def bad(problem: str) -> BadShardMap:
        where = "" if entry is None else f" (entry {entry})"
        return BadShardMap(variable=variable, problem=f"{problem}{where}")

    values: dict[str, str] = {}
    for number, pair in enumerate(text.split(";"), start=1):
        if not pair.strip():
            continue
        key, equals, value = pair.partition("=")
        if not equals:
            # The message doesn't quote the pair, which may be part of a password with a semicolon.
            raise bad(f"malformed key=value pair: number {number} has no '='")
        key = key.strip()
        if key not in _KEYS:
            raise bad(f"unknown key: {key}")
        if key == "port" and (not _PORT.fullmatch(value) or int(value) > 65535):
            raise bad(f"invalid port: {value}")
        values["database" if key == "dbname" else key] = value
    for key in ("host", "user"):
        if key not in values:
            raise bad(f"missing required key: {key}")
    try:
        password = _password_of(values)
    except ValueError as error:
        raise bad(str(error)) from None
    return DatabaseAddress(
        host=values["host"],
        port=int(values.get("port", "5432")),
        user=values["user"],
        password=password,
        database=values.get("database", "noetl"),
        password_file=values.get("password_file", ""),
        credential=values.get("credential", ""),
    )


def _password_of(values: Mapping[str, str]) -> str:
    password, file = (values.get(key, "") for key in ("password", "password_file"))
    if password and file:
        raise ValueError("password and password_file are given")
    try:
        return text_of(Path(file)) if file else password
    except ValueError as error:
        raise ValueError(f"password_file {error}") from None
