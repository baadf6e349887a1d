"""An edge that asks for logins, and callers that it knows."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from noetl_contract.access.capability import Capability
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Role
from noetl_contract.rpc import RpcReply

from ..conftest import Answering, World, make_world

COMMAND_KEY = "command-key-of-this-test"
INTERNAL = "internal-token"


def new_key() -> str:
    """Return an API key of the right form."""
    return f"nk_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"


KEYS = {role: new_key() for role in Role}


def bearer(token: str) -> dict[str, str]:
    """Return the header of a token."""
    return {"authorization": f"Bearer {token}"}


def command_login(execution_id: int, event_id: int, key: str = COMMAND_KEY) -> tuple[str, str]:
    """Return user name and password of a command's capability."""
    user, _, password = Capability(execution_id, event_id, 1).userinfo(key.encode()).partition(":")
    return user, password


def principal_of(role: Role, **parts: Any) -> dict[str, Any]:
    """Return the principal of a role's key, as the catalog would."""
    one = Principal(name=f"the {role}", kind="key", roles=(role,), namespaces=("",))
    return one.model_copy(update=parts).model_dump(mode="json", exclude_none=True)


def resolve_keys(request: dict[str, Any]) -> dict[str, Any]:
    """Answer `auth.resolve` for one key of each role."""
    for role, key in KEYS.items():
        if request["token"] == key:
            return {"principal": principal_of(role), "key_id": key.split("_")[1]}
    return {"reason": "unknown"}


class _Answers(dict[str, Answering]):
    """Answers of the services; those that a test doesn't give are 404, at once."""

    def __missing__(self, _operation: str) -> Answering:
        return lambda _request: RpcReply(status=404, error="There is nothing here")


@asynccontextmanager
async def guarded_world(nats_url: str, **changes: Any) -> AsyncIterator[World]:
    """Serve an edge that asks for logins."""
    defaults = {
        "auth": "on",
        "command_key": COMMAND_KEY,
        "internal_api_token": INTERNAL,
    }
    async with make_world(nats_url, **{**defaults, **changes}) as world:
        world.backend.answers = _Answers(world.backend.answers)
        world.backend.answer("auth.resolve", resolve_keys)
        world.backend.answer("auth.grants", {"reason": "unknown"})
        world.backend.answer("command.standing", {"is_open": True, "path": "demo/hello"})
        yield world
