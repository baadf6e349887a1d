"""Credentials, whose data goes in and is never read back."""

from collections.abc import Mapping, Sequence

from noetl_contract.http.secrets.credentials import (
    CredentialBody,
    CredentialCreate,
    CredentialDeleted,
    CredentialListAnswer,
)
from noetl_contract.json import Json

from noetl_client.calls.call import Again, Call, Id, get, given, segment, send


def store(
    name: str,
    data: Mapping[str, Json],
    *,
    kind: str = "generic",
    description: str | None = None,
    tags: Sequence[str] | None = None,
    allowed_paths: Sequence[str] | None = None,
    allowed_hosts: Sequence[str] | None = None,
) -> Call[CredentialBody]:
    """Store a credential, or replace the one with its name.

    Args:
        name: by which playbooks ask for it.
        data: the secret values.
        kind: its type, such as `postgres` or `bearer`.
        description: for people.
        tags: for lists.
        allowed_paths: path prefixes of the playbooks that may use it.
        allowed_hosts: hosts that HTTP steps may send it to.
    """
    fields = given(
        description=description,
        tags=None if tags is None else [*tags],
        allowed_paths=None if allowed_paths is None else [*allowed_paths],
        allowed_hosts=None if allowed_hosts is None else [*allowed_hosts],
    )
    body = CredentialCreate(name=name, type=kind, data=dict(data), **fields)
    return send("/api/credentials", CredentialBody, body, again=Again.SAFE)


def listing(*, kind: str | None = None, search: str | None = None) -> Call[CredentialListAnswer]:
    """List credentials without their data, newest first."""
    return get("/api/credentials", CredentialListAnswer, type=kind, q=search)


def remove(name_or_id: Id) -> Call[CredentialDeleted]:
    """Delete a credential."""
    return send(f"/api/credentials/{segment(name_or_id)}", CredentialDeleted, method="DELETE")
