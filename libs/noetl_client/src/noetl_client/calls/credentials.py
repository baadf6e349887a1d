"""Credentials, whose data can be stored but not read."""

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
        name: name in playbooks.
        data: the secret values.
        kind: type of the credential, such as `postgres` or `bearer`.
        description: description for people.
        tags: tags for searches.
        allowed_paths: path prefixes of the playbooks that may use the credential.
        allowed_hosts: hosts to which HTTP steps may send the credential.
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
