"""The credentials of a request, not yet verified."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noetl_contract.access.capability import basic_login
from noetl_service.intake.protocol import PEER_NAMES

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.intake.peers import CLIENT, peer_of

_LONGEST_TOKEN = 16_384


@dataclass(frozen=True, slots=True)
class Shown:
    """Headers, address and certificate of a caller.

    Attributes:
        tokens: of `Authorization: Bearer` and `X-Session-Token`, each once, in this order.
        login: user name and password of `Authorization: Basic`.
        address: of the peer; empty where that is a trusted proxy.
        names: of its certificate.
        session: what `X-Session-Token` holds; it is among the tokens, too.
    """

    tokens: tuple[str, ...]
    login: tuple[str, str] | None
    address: str
    names: tuple[str, ...]
    session: str | None = None

    @property
    def is_bare(self) -> bool:
        """Whether the request has no credential but its address."""
        return not (self.tokens or self.login or self.names)

    @property
    def is_session(self) -> bool:
        """Whether a session is the only credential beside address and certificate."""
        return self.login is None and self.tokens == (self.session,)


def login_needed(text: str) -> Refusal:
    """Return the 401 for a request without a valid credential."""
    return Refusal(401, text, headers={"www-authenticate": "Bearer"})


def shown_by(scope: Mapping[str, Any]) -> Shown:
    """Read the credentials of a request.

    Raises:
        Refusal: 401, it is not legible, or too much.
    """
    tokens: list[str] = []
    login: tuple[str, str] | None = None
    session: str | None = None
    authorizations = 0
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorizations += 1
            login = basic_login(value)
            if login is None:
                tokens.insert(0, _bearer(value))
        elif name == b"x-session-token" and value.strip():
            session = _text(value.strip())
            tokens.append(session)
    if authorizations > 1 or len(tokens) > 2:
        raise login_needed("More than one login was sent")
    if login is not None and not login[1]:
        login = None  # the name of a command alone, which opens nothing
    names = (scope.get("extensions") or {}).get(PEER_NAMES, ())
    return Shown(
        tokens=tuple(dict.fromkeys(tokens)),
        login=login,
        # A proxy passes on any client: its own address, and the names that it sends, prove nothing.
        address="" if CLIENT in scope else peer_of(scope),
        names=tuple(names),
        session=session,
    )


def _bearer(value: bytes) -> str:
    scheme, _, token = value.strip().partition(b" ")
    if scheme.lower() != b"bearer" or not token.strip():
        raise login_needed("The Authorization header must be `Bearer <token>`")
    return _text(token.strip())


def _text(value: bytes) -> str:
    if not value.isascii() or len(value) > _LONGEST_TOKEN:
        raise login_needed("The login is not legible")
    return value.decode()
