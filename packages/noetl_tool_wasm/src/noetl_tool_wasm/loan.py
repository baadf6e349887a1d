"""The credential of a step in its plug-in's requests, which the module never sees."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import urlsplit

import httpx
from noetl_contract.json import Json
from noetl_worker.redaction import REDACTED, spellings_of
from noetl_worker.tools.http.auth import secret_headers
from noetl_worker.tools.http.hosts import may_be_sent
from noetl_worker.tools.tool import ToolContext, ToolError

_NOT_FOR_PLUGINS: Final = "gcp_adc"
_FIRST, _LAST = " ", "~"


@dataclass(frozen=True, slots=True)
class Loan:
    """Headers for requests that ask for them, and where these may go.

    Attributes:
        name: Of the credential, for errors.
        headers: What is added.
        allowed: Lists of hosts; a request has to fit each.
        hidden: The secret, in all spellings that an answer may give it back in.
    """

    name: str
    headers: dict[str, str] = field(repr=False)
    allowed: tuple[tuple[str, ...], ...]
    hidden: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, context: ToolContext) -> Self | None:
        """Return the credential that the `auth` of a step gives; None without one.

        Raises:
            ToolError: something is missing, or nobody says where it may go.
        """
        auth = context.auth
        if auth is None or auth.get("type") == "none":
            return None
        if auth.get("type") == _NOT_FOR_PLUGINS:
            raise _error(f"auth type '{_NOT_FOR_PLUGINS}' is not lent to plug-ins")
        credential = auth.get("credential")
        name = str(credential) if credential else f"{auth.get('type')} of the step"
        made = secret_headers(auth, context)
        headers = {header: value.strip() for header, value in made.items()}
        # Whoever writes the module chooses the address, so somebody else has to say where to.
        allowed = [context.secret_hosts.get(str(credential)), _hosts_of(auth.get("hosts"))]
        known = tuple(tuple(hosts) for hosts in allowed if hosts is not None)
        if not known:
            raise _error(
                f"'{name}' may go anywhere: name in 'auth.hosts' where the plug-in sends it"
            )
        for value in headers.values():
            if not all(_FIRST <= character <= _LAST for character in value):
                # The client's own error would quote it.
                raise _error(f"'{name}' has characters that no header can have")
        return cls(name, headers, known, tuple(_spellings(headers.values(), context, credential)))

    def may_go_to(self, url: httpx.URL) -> bool:
        """Return whether the credential may be sent to an address.

        Over TLS any port is the host's own. Without it only a port that was named is.
        """
        return all(
            may_be_sent(str(url), hosts if url.scheme == "https" else filter(_has_port, hosts))
            for hosts in self.allowed
        )

    def without(self, data: bytes) -> bytes:
        """Return an answer without the secret."""
        for text in self.hidden:
            data = data.replace(text.encode(), REDACTED.encode())
        return data


def _spellings(values: Iterable[str], context: ToolContext, credential: Json) -> Sequence[str]:
    # Of `Bearer X` and `Basic X` that which comes after the word.
    secrets = [value.partition(" ")[2] or value for value in values]
    secret = context.secrets.get(str(credential))
    return spellings_of(*secrets, *([secret] if secret else []))


def _hosts_of(value: Json) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(host, str) for host in value):
        raise _error("'auth.hosts' is no list of texts")
    return value


def _has_port(host: str) -> bool:
    try:
        return urlsplit(f"//{host.strip()}").port is not None
    except ValueError:
        return False


def _error(message: str) -> ToolError:
    return ToolError("Authentication error", message)
