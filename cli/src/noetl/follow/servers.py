"""The server that a command talks to, the token shown there, and help when that fails."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from noetl.exits import Exit
from noetl.stack.datadir import DEFAULT_PORT, DataDirectory, locate
from noetl.stack.errors import StackError
from noetl.stack.servers.access import TOKEN_VARIABLE

if TYPE_CHECKING:
    # The HTTP client takes a quarter of a second that most commands don't need.
    from noetl_client import Client, ClientError, Connection, Retries

URL_VARIABLE = "NOETL_SERVER_URL"
"""The variable that names the server, as it does for workers."""

_LOOK_SECONDS = 1.0
_HEALTH_BYTES = 4096
_NEXT = {
    "Execution not found": "`noetl-server list` shows executions",
    "Playbook not found": "`noetl-server list playbooks` shows what is there,"
    " `noetl-server register FILE` adds one",
    "Catalog entry": "`noetl-server list playbooks` shows what is there",
    "Credential": "`noetl-server credential list` shows what is there",
    "No step waits": "`noetl-server list waits` shows what waits",
    "Cannot cancel": "`noetl-server status EXECUTION` shows how it ended",
    "Cannot signal": "`noetl-server status EXECUTION` shows how it ended",
    "Cannot restart": "`noetl-server status EXECUTION` shows how it stands",
}


class RefusedError(StackError):
    """The server answered no; the text is its reason."""


class UnreachableError(StackError):
    """The server can't be reached, or not now; the same call may be made again."""

    exit_code = Exit.UNREACHABLE


@contextmanager
def server_of(url: str | None, *, token: str | None, data: Path | None) -> Iterator["Client"]:
    """Connect to the server that :func:`find_server` finds.

    An error of a call in the block names the next command to type.

    Raises:
        StackError: no server is named and none runs here, or a call has failed.
    """
    address, key = address_of(url, token, data)
    with client_of(address, key) as client:
        yield client


@contextmanager
def client_of(url: str, key: str, *, retries: "Retries | None" = None) -> Iterator["Client"]:
    """Connect to a server.

    Raises:
        StackError: the address is none, or a call has failed.
    """
    # Loaded here: see above.
    from noetl_client import Client, ClientError  # noqa: PLC0415

    try:
        with Client(connection_of(url, key, retries=retries)) as client:
            yield client
    except ClientError as error:
        raise told(error) from error


def connection_of(url: str, key: str, *, retries: "Retries | None" = None) -> "Connection":
    """Return how a server is reached; certificates and proxies are those of the environment.

    Raises:
        BadAddress: the address is none.
    """
    from noetl_client import Connection, Retries  # noqa: PLC0415 -- as above

    around = Connection.from_environment({**os.environ, URL_VARIABLE: "", TOKEN_VARIABLE: ""})
    # Who shows a key and somebody's certificate beside it is two callers.
    certificate = None if key else around.certificate
    return Connection(url, key, ca=around.ca, certificate=certificate, retries=retries or Retries())


def address_of(url: str | None, token: str | None, data: Path | None) -> tuple[str, str]:
    """Return the address of the server and the token shown to it; see :func:`find_server`.

    Raises:
        StackError: no server is named, and none runs here.
    """
    found = find_server(url, data)
    if found is None:
        raise StackError(
            f"no stack is running on {locate(data).root}; name another server with --server-url "
            f"or {URL_VARIABLE}, or start one: noetl-server up"
        )
    if found.is_unasked:
        sys.stderr.write(f"{found.sentence}\n")
    return found.url, token_of(token, found.directory)


@dataclass(frozen=True, slots=True)
class Server:
    """The server that a command asks.

    Attributes:
        url: Its address.
        reason: Why this one.
        directory: That of the local stack, whose key is shown; None for any other server.
        is_unasked: Whether neither the caller nor the current directory names the server.
    """

    url: str
    reason: str
    directory: DataDirectory | None = None
    is_unasked: bool = False

    @property
    def sentence(self) -> str:
        """The server and the reason in a line."""
        return f"server {self.url} ({self.reason})"


def find_server(url: str | None, data: Path | None) -> Server | None:
    """Return the server of a command by the one rule for all; None if none is named or runs.

    The option comes first, then the variable unless ``--data`` names a directory, then the stack
    of the data directory, then what answers at the default port of this machine unless a data
    directory is named. The address of the local stack itself is no other server: it has the
    stack's key.
    """
    if url:
        return Server(url.rstrip("/"), "--server-url")
    directory = locate(data)
    state = directory.state()
    own = "" if state is None else str(state.get("url") or "").rstrip("/")
    named = os.environ.get(URL_VARIABLE, "").strip().rstrip("/")
    if named and data is None and named != own:
        return Server(named, URL_VARIABLE)
    if directory.is_held():
        return Server(own, f"the stack of {directory.root}", directory) if own else None
    if data is not None or os.environ.get("NOETL_DATA_DIR"):
        return None
    usual = f"http://localhost:{DEFAULT_PORT}"
    if not _is_server(DEFAULT_PORT):
        return None
    return Server(
        usual,
        f"it answers at the default port; --data {directory.root} starts or names a stack here",
        is_unasked=True,
    )


def _is_server(port: int) -> bool:
    """Return whether a NoETL server answers at a port of this machine."""
    # Loaded here: most commands find their server without a request.
    import http.client  # noqa: PLC0415

    connection = http.client.HTTPConnection("localhost", port, timeout=_LOOK_SECONDS)
    try:
        connection.request("GET", "/api/health")
        told = json.loads(connection.getresponse().read(_HEALTH_BYTES))
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(told, dict) and {"status", "database", "nats"} <= told.keys()


def token_of(given: str | None, directory: DataDirectory | None = None) -> str:
    """Return the token: the option, the variable, else the key that a local stack keeps."""
    token = given or os.environ.get(TOKEN_VARIABLE, "").strip()
    return token or (directory.admin_key() if directory is not None else "")


def told(error: "ClientError") -> StackError:
    """Return the error as a terminal shows it, with the next command to type."""
    from noetl_client import Busy, Forbidden, LoginNeeded, Refused, Unreachable  # noqa: PLC0415

    text = str(error)
    match error:
        case Unreachable():
            return UnreachableError(_with(text, "`noetl-server doctor` says what is wrong"))
        case Busy():
            return UnreachableError(_with(text, "try again; `noetl-server doctor` says more"))
        case LoginNeeded():
            return RefusedError(
                f"the server wants a login: {text}\n"
                f"  give an API key with --token or in {TOKEN_VARIABLE}; on the machine of a "
                "local stack `noetl-server key create` makes one"
            )
        case Forbidden():
            return RefusedError(_with(text, "`noetl-server key create` makes a key with rights"))
        case Refused():
            hints = (what for begin, what in _NEXT.items() if error.detail.startswith(begin))
            return RefusedError(_with(text, next(hints, "")))
    return StackError(text)


def _with(text: str, what: str) -> str:
    return f"{text}\n  {what}" if what else text
