"""`/api/keychain`, and the operators' view of keys and readings."""

from typing import Annotated, Any

from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema

from noetl_contract.http.aliases import Aliased
from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.scalars import I64, Flag, Id, IdText, Moment

__all__ = [
    "AuditQuery",
    "AuditRecord",
    "AuditRecords",
    "KeyStatus",
    "KeychainEntryBody",
    "KeychainEntryList",
    "KeychainList",
    "KeychainPut",
    "KeychainPutBody",
    "KeychainRead",
    "KeychainState",
    "KeychainStored",
    "RotateKeysRequest",
    "RotateRequest",
    "RotateSlice",
    "RotatedTable",
    "RotatedTables",
]

# Errors of these models must not quote what was sent.
_QUIET = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class KeychainRead(BaseModel):
    """Name an entry."""

    model_config = _QUIET

    catalog_id: int
    keychain_name: str
    scope_type: str = "global"
    execution_id: int | None = None


class KeychainPutBody(Aliased):
    """An entry to store.

    The edge takes `token_data` for `data` and `ttl_seconds` for `expires_in` too.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [
                {"data": {"access_token": "t"}, "scope_type": "global", "expires_in": 1799}
            ]
        },
    )

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


class KeychainPut(KeychainPutBody):
    """An entry to store, with its name."""

    model_config = ConfigDict(json_schema_extra={})

    catalog_id: int
    keychain_name: str


class KeychainState(BaseModel):
    """An entry or its state; unknown fields are absent."""

    model_config = _QUIET

    status: str = Field(description="found, expired, not_found or deleted")
    data: Any = Field(default=None, repr=False)
    expires_at: Rfc3339 | None = None
    auto_renew: bool | None = None
    access_count: int | None = None
    cache_key: str | None = None


class KeychainStored(BaseModel):
    """An entry was stored."""

    model_config = _QUIET

    status: str
    cache_key: str
    expires_at: Rfc3339


class KeychainList(BaseModel):
    """The catalog entry whose keychain entries to list."""

    model_config = _QUIET

    catalog_id: int


class KeychainEntryBody(BaseModel):
    """An entry without its value."""

    model_config = _QUIET

    keychain_name: str
    scope_type: str
    execution_id: IdText | None = None
    expires_at: Rfc3339
    expired: bool
    access_count: int
    accessed_at: Rfc3339
    created_at: Rfc3339


class KeychainEntryList(BaseModel):
    """The entries of a catalog entry, newest first."""

    model_config = _QUIET

    catalog_id: str
    entries: list[KeychainEntryBody]


class RotateKeysRequest(BaseModel):
    """How much to rotate."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", json_schema_extra={"examples": [{"batch_size": 100}]}
    )

    batch_size: I64 | None = Field(default=100, description="records read and written at once")
    max_batches: I64 | None = Field(default=1000, description="batches per table")


class RotateRequest(BaseModel):
    """Wrap the data keys of one table anew, after a record."""

    model_config = _QUIET

    table: str
    after: str = ""
    batch_size: int = Field(default=100, ge=1)
    max_batches: int = Field(default=1000, ge=1)


class RotatedTable(BaseModel):
    """Counts of a rotation of one table."""

    model_config = _QUIET

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


class RotatedTables(BaseModel):
    """Counts of a rotation, by table."""

    model_config = _QUIET

    credential: RotatedTable
    keychain: RotatedTable


class KeyStatus(BaseModel):
    """How many records depend on which version of the key; `invalid` ones have another form."""

    model_config = _QUIET

    credential: dict[str, int]
    keychain: dict[str, int]


class AuditQuery(BaseModel):
    """Which readings to list."""

    model_config = _QUIET

    credential: str | None = None
    execution_id: int | None = None
    since: AwareDatetime | None = Field(default=None, alias="from")
    until: AwareDatetime | None = Field(default=None, alias="to")
    limit: int = 100


class AuditRecord(BaseModel):
    """One reading or change of a secret."""

    model_config = _QUIET

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


class AuditRecords(BaseModel):
    """Readings and changes, newest first."""

    model_config = _QUIET

    rows: list[AuditRecord]
