"""Callers of the stack that asks for logins: a key for each role, and clients with them."""

import secrets

import httpx
from noetl_contract.access.rights import Role
from noetl_testkit.stack import Stack

KEYS = {role: f"nk_{role}_{secrets.token_urlsafe(32)}" for role in Role}
COMMAND_KEY = secrets.token_urlsafe(32)
INTERNAL = secrets.token_urlsafe(16)
GATEWAY_AT, PAGES_AT = "127.0.0.2", "127.0.0.3"
"""Addresses of this machine from which gateways call."""
ASKING = {
    "NOETL_AUTH": "on",
    "NOETL_ACCESS_KEYS": ",".join(f"{role}={key}" for role, key in KEYS.items()),
    "NOETL_COMMAND_KEY": COMMAND_KEY,
    "NOETL_INTERNAL_API_TOKEN": INTERNAL,
    "NOETL_TRUSTED_CLIENTS": f"gateway:10.9.9.0/24,gateway:{GATEWAY_AT},pages:{PAGES_AT}",
    # So long that what is forgotten earlier was forgotten because it was told.
    "NOETL_AUTH_CACHE_SECONDS": "60",
}
"""Settings of that stack."""


class Callers:
    """Clients with the keys of roles."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._clients: list[httpx.Client] = []

    def with_token(self, token: str | None) -> httpx.Client:
        """Return a client that sends a token; without one if it is None."""
        client = self._stack.client(token or "")
        self._clients.append(client)
        return client

    def nobody(self) -> httpx.Client:
        """Return a client without a login."""
        return self.with_token(None)

    def of(self, role: Role) -> httpx.Client:
        """Return the client of a role's key."""
        return self.with_token(KEYS[role])

    def close(self) -> None:
        """Close all clients."""
        for client in self._clients:
            client.close()
