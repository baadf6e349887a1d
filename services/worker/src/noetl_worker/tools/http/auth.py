"""Headers of authentication by the ``auth`` object."""

import base64
from collections.abc import Mapping

from noetl_contract.json import Json

from noetl_worker.tools.google_tokens import GoogleTokens
from noetl_worker.tools.http.hosts import may_be_sent
from noetl_worker.tools.tool import ToolContext, ToolError


async def auth_headers(context: ToolContext, google: GoogleTokens, *, url: str) -> dict[str, str]:
    """Return the headers that authentication adds to a request to a URL.

    Raises:
        ToolError: something is missing, or the secret may not be sent there.
    """
    auth = context.auth
    if auth is None:
        return {}
    name = str(auth.get("credential"))
    if not may_be_sent(url, context.secret_hosts.get(name)):
        raise _error(f"credential '{name}' may not be sent to this host")
    if auth.get("type") == "gcp_adc":
        return {"authorization": f"Bearer {await google.token(_scopes(auth))}"}
    return secret_headers(auth, context)


def secret_headers(auth: Mapping[str, Json], context: ToolContext) -> dict[str, str]:
    """Return the headers of an ``auth`` object whose secret is in the context, or in itself.

    Raises:
        ToolError: something is missing.
    """
    match auth.get("type"):
        case "bearer":
            return {"authorization": f"Bearer {_bearer(auth, context)}"}
        case "basic":
            return {"authorization": f"Basic {_basic(auth, context)}"}
        case "api_key":
            secret = context.secrets.get(str(auth.get("credential"))) or auth.get("token")
            if not secret:
                raise _error("API key auth requires 'token' or 'credential'")
            return {str(auth.get("header") or "X-API-Key"): str(secret)}
        case "none":
            return {}
        case other:
            raise _error(f"auth type '{other}' is not known")


def _scopes(auth: Mapping[str, Json]) -> list[str]:
    scopes = auth.get("scopes")
    if scopes is None:
        return []
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise _error("'scopes' is not a list of texts")
    return scopes


def _bearer(auth: Mapping[str, Json], context: ToolContext) -> str:
    if auth.get("token"):
        return str(auth["token"])
    name = auth.get("credential")
    if not name:
        raise _error("Bearer auth requires 'token' or 'credential'")
    secret = context.secrets.get(str(name))
    if secret is None:
        raise _error(f"Credential '{name}' not found in context")
    return secret


def _basic(auth: Mapping[str, Json], context: ToolContext) -> str:
    user = auth.get("username")
    if not user:
        raise _error("Basic auth requires 'username'")
    password = context.secrets.get(str(auth.get("credential"))) or auth.get("password")
    if password is None:
        raise _error("Basic auth requires 'password'")
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _error(message: str) -> ToolError:
    return ToolError("Authentication error", message)
