"""Guards of `/api/internal/*` where no login is needed: one shared bearer token.

Where one is needed, the right of the route has been asked for before.
"""

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from noetl_contract.access.capability import (
    Capability,
    PageCapability,
    basic_login,
    verified,
    verified_page,
)
from noetl_contract.access.principal import Principal

from noetl_api_gateway.http.refusals import Refusal

type Connection = ASGIConnection[Any, Any, Any, Any]

INTERNAL_TOKEN_STATE = "internal_api_token"  # noqa: S105 -- a name, not a token
"""Key of the application's state for the configured token."""
COMMAND_KEY_STATE = "command_key"
"""Key of the application's state for the key of commands' capabilities."""

_NOT_CONFIGURED = (
    "Internal API not configured: NOETL_INTERNAL_API_TOKEN env var unset on the server. Set it"
    " to the system worker pool's ServiceAccount token before calling /api/internal/* endpoints."
)
_NO_HEADER = "Internal API requires Authorization header with Bearer token."
_NOT_ASCII = "Internal API Authorization header is not valid ASCII."
_NOT_BEARER = "Internal API requires 'Bearer <token>' Authorization scheme."
_WRONG = "Invalid service-account token for /api/internal/*."
WRONG_TOKEN = {403: _WRONG}
"""Refusal of the guards, for the OpenAPI document."""


def require_internal_token(connection: Connection) -> None:
    """Let a request pass that carries the internal token.

    Raises:
        Refusal: 503 when no token is configured, 403 for any other header.
    """
    if _has_principal(connection):
        return
    expected = _configured(connection)
    if not expected:
        raise Refusal(503, _NOT_CONFIGURED)
    _compare(connection, expected)


def require_internal_token_if_set(connection: Connection) -> None:
    """Require the token only where one is configured.

    Raises:
        Refusal: 403, the configured token was not sent.
    """
    expected = _configured(connection)
    if expected and not _has_principal(connection):
        _compare(connection, expected)


async def internal_token_guard(connection: Connection, _handler: BaseRouteHandler) -> None:
    """Guard a route: `guards=[internal_token_guard]`; runs before path and body are read."""
    require_internal_token(connection)


async def optional_token_guard(connection: Connection, _handler: BaseRouteHandler) -> None:
    """Guard a route that is open where no token is configured."""
    require_internal_token_if_set(connection)


async def callback_guard(connection: Connection, _handler: BaseRouteHandler) -> None:
    """Guard a route by a command's capability, for its own execution, or by the token."""
    if not _has_principal(connection) and not _has_capability(connection):
        require_internal_token(connection)


async def page_callback_guard(connection: Connection, _handler: BaseRouteHandler) -> None:
    """Guard a route whose body names a request of a page by an unguessable id.

    A command shows its capability, what has been given `gateway_url` that of the request, others
    the token where one is configured.
    """
    if not _has_principal(connection) and shown_capability(connection) is None:
        require_internal_token_if_set(connection)


def shown_capability(connection: Connection) -> Capability | PageCapability | None:
    """Return the valid capability of a request; None without one."""
    login = basic_login(_authorization(connection) or b"")
    key: bytes = connection.app.state[COMMAND_KEY_STATE]
    return None if login is None else verified(*login, key) or verified_page(*login, key)


def _has_capability(connection: Connection) -> bool:
    """Return whether the login is that of a command of the execution that the path names."""
    shown = shown_capability(connection)
    named = str(connection.path_params.get("execution_id")).strip()
    return isinstance(shown, Capability) and named == str(shown.execution_id)


def _authorization(connection: Connection) -> bytes | None:
    headers = connection.scope["headers"]
    return next((value for name, value in headers if name == b"authorization"), None)


def _has_principal(connection: Connection) -> bool:
    return isinstance(connection.scope.get("user"), Principal)


def _configured(connection: Connection) -> bytes:
    # Stripped: a secret mounted from a file ends in a newline (D17).
    token = connection.app.state[INTERNAL_TOKEN_STATE].get_secret_value()
    return str(token).strip().encode()


def _compare(connection: Connection, expected: bytes) -> None:
    sent = _authorization(connection)
    if sent is None:
        raise Refusal(403, _NO_HEADER)
    if not sent.isascii():
        raise Refusal(403, _NOT_ASCII)
    scheme, _, token = sent.strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        raise Refusal(403, _NOT_BEARER)
    if not hmac.compare_digest(token, expected):
        raise Refusal(403, _WRONG)
