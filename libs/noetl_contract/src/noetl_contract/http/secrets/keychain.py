"""`/api/keychain`, and the operators' view of keys and readings."""

from typing import Annotated, Any

from pydantic import AliasChoices, AwareDatetime, ConfigDict, Field, WithJsonSchema

from noetl_contract.access.principal import OnBehalf
from noetl_contract.http.aliases import Aliased
from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.scalars import I64, Flag, Id, IdText, Moment
from noetl_contract.model import Model, SecretModel, example

# Errors of these models must not quote what was sent.


class KeychainRead(SecretModel, OnBehalf):
    """The name of an entry to read."""

    catalog_id: int
    keychain_name: str
    scope_type: str = "global"
    execution_id: int | None = None


class KeychainPutBody(Aliased, SecretModel):
    """An entry to store.

    The edge takes `token_data` for `data` and `ttl_seconds` for `expires_in` too.
    """

    model_config = example(data={"access_token": "t"}, scope_type="global", expires_in=1799)

    data: Any = Field(repr=False, validation_alias=AliasChoices("data", "token_data"))
    scope_type: str = "global"
    execution_id: Id | None = None
    parent_execution_id: Id | None = None
    expires_at: Moment | None = None
    expires_in: I64 | None = Field(
        default=None, validation_alias=AliasChoices("expires_in", "ttl_seconds")
    )
    auto_renew: Flag = False
    renew_config: Any = Field(default=None, repr=False)
    credential_type: str | None = None
    cache_type: str | None = None


class KeychainPut(KeychainPutBody, OnBehalf):
    """An entry to store, with its name."""

    model_config = ConfigDict(json_schema_extra={})

    catalog_id: int
    keychain_name: str


class KeychainState(SecretModel):
    """An entry or its state; unknown fields are absent."""

    status: str = Field(description="found, expired, not_found or deleted")
    data: Any = Field(default=None, repr=False)
    expires_at: Rfc3339 | None = None
    auto_renew: bool | None = None
    access_count: int | None = None
    cache_key: str | None = None


class KeychainStored(SecretModel):
    """An entry was stored."""

    status: str
    cache_key: str
    expires_at: Rfc3339


class KeychainList(SecretModel, OnBehalf):
    """The catalog entry whose keychain entries to list."""

    catalog_id: int


class KeychainEntryBody(SecretModel):
    """An entry without its value."""

    keychain_name: str
    scope_type: str
    execution_id: IdText | None = None
    expires_at: Rfc3339
    expired: bool
    access_count: int
    accessed_at: Rfc3339
    created_at: Rfc3339


class KeychainEntryList(SecretModel):
    """The entries of a catalog entry, newest first."""

    catalog_id: str
    entries: list[KeychainEntryBody]


class RotateKeysRequest(Model):
    """Limits of a rotation request."""

    model_config = example(batch_size=100)

    batch_size: I64 | None = Field(default=100, description="records read and written at once")
    max_batches: I64 | None = Field(default=1000, description="batches per table")


class RotateRequest(SecretModel):
    """Rewrap the data keys of one table, after a record."""

    table: str
    after: str = ""
    batch_size: int = Field(default=100, ge=1)
    max_batches: int = Field(default=1000, ge=1)


class RotatedTable(SecretModel):
    """Counts of a rotation of one table."""

    processed: int = 0
    rewrapped: int = 0
    skipped: int = 0
    failed: int = 0
    last_id: int = 0


class RotateSlice(RotatedTable):
    """Counts of one request of a rotation, and the start of the next one."""

    after: str
    batches: int
    done: bool


class RotatedTables(SecretModel):
    """Counts of a rotation, by table."""

    credential: RotatedTable
    keychain: RotatedTable


class KeyStatus(SecretModel):
    """Number of records by version of their key; `invalid` ones have another form."""

    credential: dict[str, int]
    keychain: dict[str, int]


class AuditQuery(SecretModel):
    """Filter of audit records to list."""

    credential: str | None = None
    execution_id: int | None = None
    since: AwareDatetime | None = Field(
        default=None,
        validation_alias=AliasChoices("from", "since"),
        serialization_alias="from",
    )
    until: AwareDatetime | None = Field(
        default=None, validation_alias=AliasChoices("to", "until"), serialization_alias="to"
    )
    limit: int = 100


class AuditRecord(SecretModel):
    """One reading or change of a secret."""

    audit_id: int | str
    occurred_at: Annotated[Rfc3339, WithJsonSchema({"type": "string", "format": "date-time"})]
    credential: str
    operation: str
    outcome: str
    worker_id: str | None
    execution_id: int | str | None
    parent_execution_id: int | str | None
    server_region: str | None
    broker_region: str | None
    kek_version: str | None
    notes: str | None
    principal: str | None = Field(default=None, description="who asked, where that is known")


class AuditRecords(SecretModel):
    """Readings and changes, newest first."""

    rows: list[AuditRecord]
