"""API keys, and the catalog's look-ups of callers' credentials."""

import re
from typing import Literal

from pydantic import AwareDatetime, Field

from noetl_contract.access.principal import EVERYWHERE, OnBehalf, Principal
from noetl_contract.access.rights import Right, Role
from noetl_contract.model import Model, SecretModel, Struct, example

API_KEY = re.compile(r"nk_([a-z0-9]{1,32})_([A-Za-z0-9_-]{43})")
"""An API key: ``nk_<id>_<32 bytes in url-safe base64>``; the catalog keeps its SHA-256."""


class TokenRequest(SecretModel):
    """An API key as the caller has sent it."""

    token: str = Field(repr=False)


class GrantsRequest(Struct):
    """Proven claims of a caller: of its JWT, its session, or its certificate.

    Attributes:
        kind: of the credential.
        issuer: of a JWT, else empty.
        subject: of the JWT or certificate (SAN), or the user of the session.
        values: values of the claims that grants may name, as ``groups:admins``.
    """

    kind: Literal["jwt", "session", "certificate"]
    issuer: str = ""
    subject: str
    values: tuple[str, ...] = ()


class Resolved(Model):
    """The principal, or the reason why there is none; ``key_id`` of a key, to revoke it."""

    principal: Principal | None = None
    reason: str | None = Field(default=None, description="unknown, revoked or expired")
    key_id: str | None = None


class KeyWish(Model):
    """A requested key; the name is that of its principal."""

    model_config = example(name="ci", roles=["operator"], namespaces=["team-a/"])

    name: str = Field(min_length=1, max_length=200)
    roles: tuple[Role, ...] = Field(min_length=1)
    grants: tuple[Right, ...] = ()
    namespaces: tuple[str, ...] = (EVERYWHERE,)
    pools: tuple[str, ...] = ()
    expires_at: AwareDatetime | None = None


class KeyCreate(KeyWish, OnBehalf):
    """A key to create."""


class KeyBody(Model):
    """A key without its secret."""

    key_id: str
    name: str
    roles: tuple[Role, ...]
    grants: tuple[Right, ...] = ()
    namespaces: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    created_at: AwareDatetime
    created_by: str | None = None
    expires_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None


class KeyCreated(KeyBody, SecretModel):
    """A new key; its token is shown this once."""

    token: str = Field(repr=False)


class KeyListRequest(OnBehalf):
    """Filter of keys to list."""

    with_revoked: bool = False


class KeyList(Model):
    """Keys, newest first."""

    keys: list[KeyBody]


class KeyName(OnBehalf):
    """The key to revoke."""

    key_id: str


class KeyRevoked(Model):
    """Answer to the revocation of a key."""

    key_id: str
    revoked_at: AwareDatetime
