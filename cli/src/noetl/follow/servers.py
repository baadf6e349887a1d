"""The server that a command talks to, and what it shows there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from noetl_contract.json import Json

from noetl.stack.datadir import DataDirectory, locate
from noetl.stack.errors import StackError
from noetl.stack.servers.access import TOKEN_VARIABLE

_SECONDS = 35.0
_FOR_NOW = frozenset({429, 502, 503, 504})


class UnreachableError(StackError):
    """The server can't be reached, or not now; the same call may be made again."""


class Server:
    """Single calls of an edge.

    Args:
        url: its address.
        token: what it is shown; empty for nothing.
    """

    def __init__(self, url: str, token: str) -> None:
        # Loaded here: the HTTP client takes a quarter of a second that other commands don't need.
        import httpx  # noqa: PLC0415

        headers = {"authorization": f"Bearer {token}"} if token else {}
        try:
            self._client = httpx.Client(
                base_url=url, headers=headers, timeout=_SECONDS, trust_env=False
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise StackError(f"{url} is no address of a server: {error}") from error

    def __enter__(self) -> Self:
        """Use it until the block ends."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, method: str, path: str, body: Json = None) -> Json:
        """Return the body of the answer.

        Raises:
            UnreachableError: no answer, or a refusal for now.
            StackError: a refusal; the text is its reason.
        """
        import httpx  # noqa: PLC0415

        try:
            answer = self._client.request(method, quote(path, safe="/?=&%"), json=body)
            said: Json = answer.json()
        except httpx.TransportError as error:
            why = error or type(error).__name__
            text = f"no answer from {self._client.base_url}: {why}"
            raise UnreachableError(text) from error
        except ValueError:
            raise StackError(
                f"{self._client.base_url} doesn't answer as a NoETL server does"
            ) from None
        if answer.is_success:
            return said
        reason = said.get("error") if isinstance(said, dict) else None
        text = refusal(answer.status_code, str(reason or answer.status_code))
        raise UnreachableError(text) if answer.status_code in _FOR_NOW else StackError(text)


def refusal(status: int, reason: str) -> str:
    """Return the text of a refusal, with what to do about a missing login."""
    if status != 401:
        return reason
    return (
        f"the server wants a login: {reason}\n"
        f"  give an API key with --token or in {TOKEN_VARIABLE}; on the machine of a local stack"
        " `noetl-server key create` makes one"
    )


def token_of(given: str | None, directory: DataDirectory | None = None) -> str:
    """Return what to show: the option, the variable, else the key that a local stack keeps."""
    token = given or os.environ.get(TOKEN_VARIABLE, "").strip()
    return token or (directory.admin_key() if directory is not None else "")


@contextmanager
def server_of(url: str | None, *, token: str | None, data: Path | None) -> Iterator[Server]:
    """Connect to the server of the URL, else to the local stack of the data directory.

    Raises:
        StackError: there is no local stack, or it doesn't run.
    """
    directory = None if url else locate(data)
    if directory is not None:
        state = directory.state()
        if state is None or not directory.is_held() or not (url := state.get("url")):
            raise StackError(
                f"no stack is running on {directory.root}; name another server with --server-url"
            )
    with Server(url or "", token_of(token, directory)) as server:
        yield server
