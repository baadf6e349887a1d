"""`/api/credentials`, and sealed reads of them."""

import base64
from typing import Annotated, Any, Self

from pydantic import AliasChoices, BeforeValidator, Field

from noetl_contract.access.principal import OnBehalf
from noetl_contract.http.aliases import Aliased
from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.scalars import Id, IdText
from noetl_contract.json import Json
from noetl_contract.model import SecretModel, example

# Errors of these models must not quote what was sent.


def _tags(value: Json) -> Json:
    """Split one text at its commas; spell numbers and booleans in a list as text."""
    if isinstance(value, str):
        return [tag.strip() for tag in value.split(",") if tag.strip()]
    return [_tag(item) for item in value] if isinstance(value, list) else value


def _tag(item: Json) -> Json:
    if isinstance(item, bool):
        return str(item).lower()
    return str(item) if isinstance(item, int | float) else item


class CredentialCreate(Aliased, SecretModel):
    """Store a credential, or replace the one with its name.

    The edge takes `credential_type` for `type` too, and tags as one text with commas.
    """

    model_config = example(
        name="pg_k8s",
        type="postgres",
        data={"db_host": "postgres", "db_port": 5432, "db_user": "demo"},
        tags=["postgres"],
        description="demo db",
    )

    name: str
    type: str = Field(default="generic", validation_alias=AliasChoices("type", "credential_type"))
    data: Any = Field(repr=False)
    meta: Any = None
    tags: Annotated[list[str] | None, BeforeValidator(_tags)] = None
    description: str | None = None
    allowed_paths: list[str] | None = Field(
        default=None,
        description="path prefixes of the playbooks that may use it; absent: as before, at first"
        " those of the caller",
    )
    allowed_hosts: list[str] | None = Field(
        default=None,
        description="hosts that http steps may send it to, `*.example.com` for those below; absent:"
        " as before, at first all",
    )


class CredentialBody(SecretModel):
    """A credential; missing fields are absent, never null, for old workers."""

    id: IdText
    name: str
    type: str
    meta: Any = None
    tags: list[str] | None = None
    description: str | None = None
    allowed_paths: list[str] | None = None
    allowed_hosts: list[str] | None = None
    data: Any = Field(default=None, repr=False, description="only when it was asked for")
    created_at: Rfc3339
    updated_at: Rfc3339


class CredentialList(SecretModel, OnBehalf):
    """Filter of credentials to list; an empty text is a filter too."""

    type: str | None = None
    q: str | None = None


class CredentialListAnswer(SecretModel):
    """Credentials without their data, newest first."""

    items: list[CredentialBody]
    filter: dict[str, str] | None = Field(default=None, description="absent without a filter")


class CredentialRead(SecretModel, OnBehalf):
    """Read one credential, or the target of an alias in an execution."""

    identifier: str
    include_data: bool = False
    execution_id: int | None = None
    parent_execution_id: int | None = None


class CredentialDeleted(SecretModel):
    """Answer to the deletion of a credential."""

    id: str
    message: str


class SealedRead(SecretModel, OnBehalf):
    """Read one credential, sealed for one worker."""

    identifier: str
    worker_id: str
    execution_id: int | None = None
    parent_execution_id: int | None = None


class SealedEnvelope(SecretModel):
    """A credential object that only one worker can read."""

    model_config = example(
        alg="x25519-hkdf-sha256-chacha20-poly1305",
        v=1,
        eph_pub="OKtmS9hvd9fma92a4HkpE6lP2LM6EmACfktGwfSITGc=",
        ciphertext="aHOXH6wT5qTWDJhGUeUjOX11o/0y8Pup9LE=",
    )

    alg: str
    v: int
    eph_pub: str
    ciphertext: str


class CrossRegionRequest(SecretModel):
    """Request of another region for a secret of this region, sealed for its worker."""

    model_config = example(
        alias="eu_token",
        worker_public_key_b64="/y7kVgHsG2cxDHeQQEWFrmlzMe7hwfjPJBlzHB//Pms=",
        worker_id="w-1",
        execution_id=383611777386247168,
        expected_entry_region="eu-central-1",
        requesting_region="us-east-1",
    )

    alias: str
    worker_public_key_b64: str
    worker_id: str
    execution_id: Id | None = None
    parent_execution_id: Id | None = None
    expected_entry_region: str
    requesting_region: str = ""

    @classmethod
    def of(
        cls, wanted: SealedRead, *, recipient: bytes, entry_region: str, own_region: str
    ) -> Self:
        """Return the request to another region for a secret that a worker needs here."""
        return cls(
            alias=wanted.identifier,
            worker_public_key_b64=base64.b64encode(recipient).decode(),
            worker_id=wanted.worker_id,
            execution_id=wanted.execution_id,
            parent_execution_id=wanted.parent_execution_id,
            expected_entry_region=entry_region,
            requesting_region=own_region,
        )
