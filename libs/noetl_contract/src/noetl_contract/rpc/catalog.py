"""Operations of the catalog: documents, runtimes, machine ids, credentials."""

from pydantic import BaseModel, ConfigDict, StrictInt

from noetl_contract.http.catalog import (
    BatchAnswer,
    CatalogEntry,
    CatalogListAnswer,
    CatalogListRequest,
    MovedAnswer,
    RegisterAnswer,
    UiSchema,
    ValidateAnswer,
)
from noetl_contract.http.credentials import (
    CredentialBody,
    CredentialCreate,
    CredentialDeleted,
    CredentialList,
    CredentialListAnswer,
    CredentialRead,
    CrossRegionRequest,
    SealedEnvelope,
    SealedRead,
)
from noetl_contract.http.keychain import (
    AuditQuery,
    AuditRecords,
    KeychainEntryList,
    KeychainList,
    KeychainPut,
    KeychainRead,
    KeychainState,
    KeychainStored,
    KeyStatus,
    RotateRequest,
    RotateSlice,
)
from noetl_contract.http.runtime import (
    RuntimeAcknowledgement,
    RuntimeBeat,
    RuntimeEntry,
    RuntimeNameRequest,
    RuntimePoolsQuery,
    RuntimeRegistration,
)
from noetl_contract.json import JsonObject
from noetl_contract.operation import Operation
from noetl_contract.rpc.models import MODEL, SECRET_MODEL, Nothing

__all__ = [
    "AGENTS",
    "CONTENT",
    "COUNTS",
    "CREDENTIAL_CREATE",
    "CREDENTIAL_CROSS_REGION",
    "CREDENTIAL_DELETE",
    "CREDENTIAL_GET",
    "CREDENTIAL_LIST",
    "CREDENTIAL_SEALED",
    "DELETE",
    "KEYCHAIN_DELETE",
    "KEYCHAIN_GET",
    "KEYCHAIN_LIST",
    "KEYCHAIN_PUT",
    "LIST",
    "MACHINE_LEASE",
    "MACHINE_RENEW",
    "REGISTER",
    "REGISTER_BATCH",
    "RESOLVE",
    "RESOURCE",
    "RESTORE",
    "RUNTIME_DEREGISTER",
    "RUNTIME_HEARTBEAT",
    "RUNTIME_LIVENESS",
    "RUNTIME_POOLS",
    "RUNTIME_PURGE",
    "RUNTIME_REGISTER",
    "SECRET_AUDIT",
    "SUBSCRIPTION_LISTENER",
    "UI_SCHEMA",
    "VALIDATE",
    "WALLET_ROTATE",
    "WALLET_STATUS",
    "CatalogCounts",
    "ContentRequest",
    "CredentialName",
    "DocumentRequest",
    "EdgeSeen",
    "EntryContent",
    "EntryName",
    "EntryPage",
    "ListenerRequest",
    "ListenerSubscription",
    "Liveness",
    "MachineLease",
    "MachineLeaseRequest",
    "MachineRenewRequest",
    "PurgedRuntimes",
    "RegisterDocument",
    "RegisterDocuments",
    "ResolvedEntry",
    "RuntimePurgeRequest",
    "WorkerSeen",
]


# -- documents ---------------------------------------------------------------------------


class EntryName(BaseModel):
    """The name of an entry: an id, or a path with a version; the id counts if both are there.

    Ids and versions are taken as numbers or as decimal text; no version, or ``latest``, is the
    newest one.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={"examples": [{"path": "demo/hello", "version": "latest"}]},
    )

    catalog_id: StrictInt | str | None = None
    path: str | None = None
    version: StrictInt | str | None = None


class DocumentRequest(BaseModel):
    """A document's text, decoded; ``resource_type`` counts where the text has no ``kind``."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "content": "kind: Playbook\nmetadata: {name: hello, path: demo/hello}\n",
                    "resource_type": "Playbook",
                }
            ]
        },
    )

    content: str
    resource_type: str | None = None


class RegisterDocument(DocumentRequest):
    """A document to keep; with ``instead_of`` its path must be the path of that entry."""

    instead_of: EntryName | None = None


class RegisterDocuments(BaseModel):
    """Documents to keep, one by one."""

    model_config = MODEL

    items: list[DocumentRequest]


class EntryPage(CatalogListRequest):
    """Which entries to list; ``for_page`` adds the keys that a page shows and searches."""

    for_page: bool = False


class CatalogCounts(BaseModel):
    """Versions of playbooks, and workers heard lately."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={"examples": [{"total_playbooks": 25, "total_workers": 1}]},
    )

    total_playbooks: int
    total_workers: int


class ResolvedEntry(BaseModel):
    """The version that an execution would run."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "catalog_id": 767225066105864194,
                    "path": "demo/hello",
                    "version": 3,
                    "kind": "playbook",
                }
            ]
        },
    )

    catalog_id: int
    path: str
    version: int
    kind: str


class ContentRequest(BaseModel):
    """The id of one version."""

    model_config = MODEL

    catalog_id: int


class EntryContent(ResolvedEntry):
    """The text of one version; it never changes, so it may be cached for ever."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "catalog_id": 767225066105864194,
                    "path": "demo/hello",
                    "version": 3,
                    "kind": "playbook",
                    "content": "kind: Playbook\nmetadata: {name: hello, path: demo/hello}\n",
                }
            ]
        },
    )

    content: str


class ListenerRequest(BaseModel):
    """The last part of the gateway path of a push subscription."""

    model_config = MODEL

    listener: str


class ListenerSubscription(BaseModel):
    """The subscription that listens there, with the ``spec`` of its document."""

    model_config = MODEL

    path: str
    catalog_id: int
    spec: JsonObject


LIST = Operation(
    service="catalog",
    name="list",
    request=EntryPage,
    answer=CatalogListAnswer,
    scope="cluster",
    summary="List entries, newest first.",
)
AGENTS = Operation(
    service="catalog",
    name="agents",
    request=CatalogListRequest,
    answer=CatalogListAnswer,
    scope="cluster",
    summary="List agents, newest first, with their metadata in the payload.",
)
RESOURCE = Operation(
    service="catalog",
    name="resource",
    request=EntryName,
    answer=CatalogEntry,
    scope="cluster",
    summary="Return one entry whole.",
)
UI_SCHEMA = Operation(
    service="catalog",
    name="ui_schema",
    request=EntryName,
    answer=UiSchema,
    scope="cluster",
    summary="Return the form that a document's workload asks for.",
)
RESOLVE = Operation(
    service="catalog",
    name="resolve",
    request=EntryName,
    answer=ResolvedEntry,
    scope="cluster",
    summary="Return the version that an execution would run.",
)
CONTENT = Operation(
    service="catalog",
    name="content",
    request=ContentRequest,
    answer=EntryContent,
    scope="cluster",
    summary="Return the text of one version, a deleted one too.",
)
COUNTS = Operation(
    service="catalog",
    name="counts",
    request=Nothing,
    answer=CatalogCounts,
    scope="cluster",
    summary="Count versions of playbooks and workers heard lately.",
)
REGISTER = Operation(
    service="catalog",
    name="register",
    request=RegisterDocument,
    answer=RegisterAnswer,
    scope="cluster",
    summary="Store a document as the next version of its path.",
    repeatable=False,
)
REGISTER_BATCH = Operation(
    service="catalog",
    name="register.batch",
    request=RegisterDocuments,
    answer=BatchAnswer,
    scope="cluster",
    summary="Store documents one by one; each has its own result.",
    repeatable=False,
)
VALIDATE = Operation(
    service="catalog",
    name="validate",
    request=DocumentRequest,
    answer=ValidateAnswer,
    scope="cluster",
    summary="List the problems of a document without storing it.",
)
DELETE = Operation(
    service="catalog",
    name="delete",
    request=EntryName,
    answer=MovedAnswer,
    scope="cluster",
    summary="Delete one version, or all versions of a path.",
)
RESTORE = Operation(
    service="catalog",
    name="restore",
    request=EntryName,
    answer=MovedAnswer,
    scope="cluster",
    summary="Restore one deleted version, or all of a path.",
)
SUBSCRIPTION_LISTENER = Operation(
    service="catalog",
    name="subscription.listener",
    request=ListenerRequest,
    answer=ListenerSubscription,
    scope="cluster",
    summary="Find the subscription whose gateway path ends in a name.",
)


# -- runtimes and machine ids ------------------------------------------------------------


class EdgeSeen(BaseModel):
    """The last sign of life of an edge, and the begin of its process (RFC 3339)."""

    model_config = MODEL

    heartbeat_at: str
    process_since: str


class WorkerSeen(EdgeSeen):
    """The last sign of life of a worker; ``over_edge`` tells whether it came over HTTP."""

    instance: str | None
    deregistered_at: str | None
    over_edge: bool


class Liveness(BaseModel):
    """Signs of life that leases are judged by; times by the cluster database's clock."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "now": "2026-06-15T12:00:00.123456Z",
                    "edges": {},
                    "workers": {
                        "w-1": {
                            "heartbeat_at": "2026-06-15T11:59:58Z",
                            "process_since": "2026-06-15T09:00:00Z",
                            "instance": "a1",
                            "deregistered_at": None,
                            "over_edge": False,
                        }
                    },
                }
            ]
        },
    )

    now: str
    edges: dict[str, EdgeSeen]
    workers: dict[str, WorkerSeen]


class RuntimePurgeRequest(BaseModel):
    """For how many minutes a worker pool must have been silent."""

    model_config = MODEL

    stale_minutes: int


class PurgedRuntimes(BaseModel):
    """How many registrations were removed."""

    model_config = MODEL

    purged: int


class MachineLeaseRequest(BaseModel):
    """The holder of a lease, and the newest time in its ids (Unix ms)."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={"examples": [{"holder": "outbox:host-1:4711", "high_water_ms": 0}]},
    )

    holder: str
    high_water_ms: int = 0


class MachineRenewRequest(MachineLeaseRequest):
    """The lease to renew."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "holder": "outbox:host-1:4711",
                    "high_water_ms": 1781524800000,
                    "machine_id": 3,
                }
            ]
        },
    )

    machine_id: int


class MachineLease(BaseModel):
    """A leased machine id; ids may use times above ``high_water_ms`` only."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "machine_id": 3,
                    "lease_seconds": 60.0,
                    "high_water_ms": 1781524800000,
                    "now_ms": 1781524800123,
                }
            ]
        },
    )

    machine_id: int
    lease_seconds: float
    high_water_ms: int
    now_ms: int


RUNTIME_REGISTER = Operation(
    service="catalog",
    name="runtime.register",
    request=RuntimeRegistration,
    answer=RuntimeEntry,
    scope="cluster",
    summary="Write the registration of a worker, server or broker.",
)
RUNTIME_HEARTBEAT = Operation(
    service="catalog",
    name="runtime.heartbeat",
    request=RuntimeBeat,
    answer=RuntimeAcknowledgement,
    scope="cluster",
    summary="Record that a runtime is alive.",
)
RUNTIME_DEREGISTER = Operation(
    service="catalog",
    name="runtime.deregister",
    request=RuntimeNameRequest,
    answer=RuntimeAcknowledgement,
    scope="cluster",
    summary="Mark a runtime as gone.",
)
RUNTIME_POOLS = Operation(
    service="catalog",
    name="runtime.pools",
    request=RuntimePoolsQuery,
    answer=list[RuntimeEntry],
    scope="cluster",
    summary="List registered runtimes.",
)
RUNTIME_LIVENESS = Operation(
    service="catalog",
    name="runtime.liveness",
    request=Nothing,
    answer=Liveness,
    scope="cluster",
    summary="Return the signs of life that leases are judged by.",
)
RUNTIME_PURGE = Operation(
    service="catalog",
    name="runtime.purge",
    request=RuntimePurgeRequest,
    answer=PurgedRuntimes,
    scope="cluster",
    summary="Remove worker pools that have been silent for long.",
)
MACHINE_LEASE = Operation(
    service="catalog",
    name="machine.lease",
    request=MachineLeaseRequest,
    answer=MachineLease,
    scope="cluster",
    summary="Lease a free machine id.",
)
MACHINE_RENEW = Operation(
    service="catalog",
    name="machine.renew",
    request=MachineRenewRequest,
    answer=MachineLease,
    scope="cluster",
    summary="Renew the lease of a machine id; 409 when it was lost.",
)


# -- secrets -----------------------------------------------------------------------------


class CredentialName(BaseModel):
    """The id or name of a credential."""

    model_config = SECRET_MODEL

    identifier: str


CREDENTIAL_CREATE = Operation(
    service="catalog",
    name="credential.create",
    request=CredentialCreate,
    answer=CredentialBody,
    scope="cluster",
    summary="Store a credential in place of the one with its name.",
)
CREDENTIAL_LIST = Operation(
    service="catalog",
    name="credential.list",
    request=CredentialList,
    answer=CredentialListAnswer,
    scope="cluster",
    summary="List credentials without their data, newest first.",
)
CREDENTIAL_GET = Operation(
    service="catalog",
    name="credential.get",
    request=CredentialRead,
    answer=CredentialBody,
    scope="cluster",
    summary="Return a credential, or what an alias of the playbook's keychain resolves to.",
)
CREDENTIAL_DELETE = Operation(
    service="catalog",
    name="credential.delete",
    request=CredentialName,
    answer=CredentialDeleted,
    scope="cluster",
    summary="Delete a credential.",
)
CREDENTIAL_SEALED = Operation(
    service="catalog",
    name="credential.sealed",
    request=SealedRead,
    answer=SealedEnvelope,
    scope="cluster",
    summary="Return a credential encrypted for the key that one worker registered.",
)
CREDENTIAL_CROSS_REGION = Operation(
    service="catalog",
    name="credential.cross_region",
    request=CrossRegionRequest,
    answer=SealedEnvelope,
    scope="cluster",
    summary="Return a credential of this region encrypted for a worker of another one.",
)
KEYCHAIN_GET = Operation(
    service="catalog",
    name="keychain.get",
    request=KeychainRead,
    answer=KeychainState,
    scope="cluster",
    summary="Return a keychain entry and count the access.",
)
KEYCHAIN_PUT = Operation(
    service="catalog",
    name="keychain.put",
    request=KeychainPut,
    answer=KeychainStored,
    scope="cluster",
    summary="Store a keychain entry in place of the one with its key.",
)
KEYCHAIN_DELETE = Operation(
    service="catalog",
    name="keychain.delete",
    request=KeychainRead,
    answer=KeychainState,
    scope="cluster",
    summary="Delete a keychain entry if it exists.",
)
KEYCHAIN_LIST = Operation(
    service="catalog",
    name="keychain.list",
    request=KeychainList,
    answer=KeychainEntryList,
    scope="cluster",
    summary="List the keychain entries of a catalog entry without their values.",
)
WALLET_ROTATE = Operation(
    service="catalog",
    name="wallet.rotate",
    request=RotateRequest,
    answer=RotateSlice,
    scope="cluster",
    summary="Rewrap one slice of the data keys of a table; ask on with `after` until `done`.",
)
WALLET_STATUS = Operation(
    service="catalog",
    name="wallet.status",
    request=Nothing,
    answer=KeyStatus,
    scope="cluster",
    summary="Count records by the version of their key.",
)
SECRET_AUDIT = Operation(
    service="catalog",
    name="secret.audit",
    request=AuditQuery,
    answer=AuditRecords,
    scope="cluster",
    summary="List accesses to secrets and changes of them, newest first.",
)
