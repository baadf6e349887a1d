"""Operations of the catalog: documents, runtimes, machine ids, credentials."""

from pydantic import StrictInt

from noetl_contract.access.audit import AccessAudit, AccessAuditQuery
from noetl_contract.access.grants import (
    GrantBody,
    GrantDeleted,
    GrantList,
    GrantListRequest,
    GrantName,
    GrantPut,
)
from noetl_contract.access.keys import (
    GrantsRequest,
    KeyCreate,
    KeyCreated,
    KeyList,
    KeyListRequest,
    KeyName,
    KeyRevoked,
    Resolved,
    TokenRequest,
)
from noetl_contract.access.principal import OnBehalf, Principal
from noetl_contract.failures.ended import EndedTrigger
from noetl_contract.http.catalog.entries import (
    BatchAnswer,
    CatalogEntry,
    CatalogListAnswer,
    CatalogListRequest,
    MovedAnswer,
    RegisterAnswer,
    UiSchema,
    ValidateAnswer,
)
from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.secrets.credentials import (
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
from noetl_contract.http.secrets.keychain import (
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
from noetl_contract.http.workers.pauses import (
    Pause,
    PauseLifted,
    PauseList,
    PausePut,
    PauseTarget,
)
from noetl_contract.http.workers.runtimes import (
    RuntimeAcknowledgement,
    RuntimeBeat,
    RuntimeEntry,
    RuntimeLeave,
    RuntimePoolsQuery,
    RuntimeRegistration,
)
from noetl_contract.json import JsonObject
from noetl_contract.libraries.lock import LibraryLock
from noetl_contract.model import Model, SecretModel, Struct, example
from noetl_contract.plugins.document import PluginBody
from noetl_contract.plugins.requests import PluginNames, PluginPins, PluginRequest
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation


class EntryName(OnBehalf):
    """The name of an entry: an id, or a path with a version; the id counts if both are there.

    Ids and versions are taken as numbers or as decimal text; no version, or ``latest``, is the
    newest one.
    """

    model_config = example(path="demo/hello", version="latest")

    catalog_id: StrictInt | str | None = None
    path: str | None = None
    version: StrictInt | str | None = None


class DocumentRequest(Model):
    """A document's text, decoded; ``resource_type`` counts where the text has no ``kind``."""

    model_config = example(
        content="kind: Playbook\nmetadata: {name: hello, path: demo/hello}\n",
        resource_type="Playbook",
    )

    content: str
    resource_type: str | None = None


class CheckDocument(DocumentRequest, OnBehalf):
    """A document to be read for a principal; nothing out of its reach is in the answer."""


class RegisterDocument(DocumentRequest, OnBehalf):
    """A document to keep; with ``instead_of`` its path must be the path of that entry.

    With ``newest_version`` that must be the newest version of its path, 0 where it has none.
    """

    instead_of: EntryName | None = None
    newest_version: int | None = None


class RegisterDocuments(OnBehalf):
    """Documents to keep, one by one."""

    items: list[DocumentRequest]


class AgentPage(CatalogListRequest, OnBehalf):
    """Which agents to list."""


class EntryPage(CatalogListRequest, OnBehalf):
    """Which entries to list; ``for_page`` adds the keys that a page shows and searches."""

    for_page: bool = False


class TriggerList(Model):
    """Triggers, by path."""

    triggers: list[EndedTrigger]


class CatalogCounts(Struct):
    """Versions of playbooks, and workers heard lately."""

    total_playbooks: int
    total_workers: int


class ResolvedEntry(Model):
    """The version that an execution would run."""

    model_config = example(
        catalog_id=767225066105864194, path="demo/hello", version=3, kind="playbook"
    )

    catalog_id: int
    path: str
    version: int
    kind: str
    registrant: Principal | None = None
    """Principal that registered a document that starts executions, where that is known."""


class ContentRequest(Struct):
    """The id of one version."""

    catalog_id: int


class EntryContent(ResolvedEntry):
    """The text of one version; it never changes, so it may be cached for ever."""

    model_config = example(
        catalog_id=767225066105864194,
        path="demo/hello",
        version=3,
        kind="playbook",
        content="kind: Playbook\nmetadata: {name: hello, path: demo/hello}\n",
    )

    content: str


class LibraryName(Struct):
    """The requirements of a step in one version, by their digest."""

    catalog_id: int
    digest: str


class ListenerRequest(Struct):
    """The last part of the gateway path of a push subscription."""

    listener: str


class ListenerSubscription(Model):
    """The subscription that listens there, with the ``spec`` of its document."""

    path: str
    catalog_id: int
    spec: JsonObject
    registrant: Principal | None = None
    """Principal that registered it, where that is known."""


LIST = Operation("catalog", "list", EntryPage, CatalogListAnswer)
"""List entries, newest first."""
AGENTS = Operation("catalog", "agents", AgentPage, CatalogListAnswer)
"""List agents, newest first, with their metadata in the payload."""
RESOURCE = Operation("catalog", "resource", EntryName, CatalogEntry)
"""Return one entry whole."""
UI_SCHEMA = Operation("catalog", "ui_schema", EntryName, UiSchema)
"""Return the form that a document's workload asks for."""
RESOLVE = Operation("catalog", "resolve", EntryName, ResolvedEntry, is_busy=True)
"""Return the version that an execution would run."""
CONTENT = Operation("catalog", "content", ContentRequest, EntryContent)
"""Return the text of one version, a deleted one too."""
LIBRARIES = Operation("catalog", "libraries", LibraryName, LibraryLock)
"""Return the lock of a step's libraries, as one version keeps it."""
PLUGIN_PINS = Operation("catalog", "plugin.pins", PluginNames, PluginPins)
"""Return the versions of plug-ins that an execution keeps, if it begins now."""
PLUGIN = Operation("catalog", "plugin", PluginRequest, PluginBody)
"""Return a plug-in with its module, a deleted one too."""
COUNTS = Operation("catalog", "counts", Nothing, CatalogCounts)
"""Count versions of playbooks and workers heard lately."""
REGISTER = Operation("catalog", "register", RegisterDocument, RegisterAnswer, repeatable=False)
"""Store a document as the next version of its path."""
REGISTER_BATCH = Operation(
    "catalog", "register.batch", RegisterDocuments, BatchAnswer, repeatable=False
)
"""Store documents one by one; each has its own result."""
VALIDATE = Operation("catalog", "validate", CheckDocument, ValidateAnswer)
"""List the problems of a document without storing it."""
DELETE = Operation("catalog", "delete", EntryName, MovedAnswer)
"""Delete one version, or all versions of a path."""
RESTORE = Operation("catalog", "restore", EntryName, MovedAnswer)
"""Restore one deleted version, or all of a path."""
TRIGGERS = Operation("catalog", "triggers", Nothing, TriggerList)
"""List what ends of executions start."""
SUBSCRIPTION_LISTENER = Operation(
    "catalog", "subscription.listener", ListenerRequest, ListenerSubscription
)
"""Find the subscription whose gateway path ends in a name."""


class EdgeSeen(Model):
    """The last sign of life of an edge, and the begin of its process (RFC 3339)."""

    heartbeat_at: Rfc3339
    process_since: Rfc3339


class WorkerSeen(EdgeSeen):
    """The last sign of life of a worker; ``over_edge``: whether it came over HTTP.

    ``left_at`` is when a process of its name has last deregistered, also if another came since.
    """

    instance: str | None
    deregistered_at: Rfc3339 | None
    left_at: Rfc3339 | None
    over_edge: bool


class Liveness(Model):
    """Signs of life that leases are judged by; times by the cluster database's clock."""

    model_config = example(
        now="2026-06-15T12:00:00.123456Z",
        edges={},
        workers={
            "w-1": {
                "heartbeat_at": "2026-06-15T11:59:58Z",
                "process_since": "2026-06-15T09:00:00Z",
                "instance": "a1",
                "deregistered_at": None,
                "left_at": None,
                "over_edge": False,
            }
        },
        pauses=[],
    )

    now: Rfc3339
    edges: dict[str, EdgeSeen]
    workers: dict[str, WorkerSeen]
    pauses: list[PauseTarget]


class KeyUsable(Struct):
    """Whether stored secrets can be opened, and why not."""

    is_usable: bool
    reason: str | None = None


class RuntimePurgeRequest(Struct):
    """For how many minutes a worker pool must have been silent."""

    stale_minutes: int


class PurgedRuntimes(Struct):
    """How many registrations were removed."""

    purged: int


class MachineLeaseRequest(Struct):
    """The holder of a lease, and the newest time in its ids (Unix ms)."""

    holder: str
    high_water_ms: int = 0


class MachineRenewRequest(MachineLeaseRequest):
    """The lease to renew."""

    machine_id: int


class MachineLease(Struct):
    """A leased machine id; ids may use times above ``high_water_ms`` only."""

    machine_id: int
    lease_seconds: float
    high_water_ms: int
    now_ms: int


RUNTIME_REGISTER = Operation("catalog", "runtime.register", RuntimeRegistration, RuntimeEntry)
"""Write the registration of a worker, server or broker."""
RUNTIME_HEARTBEAT = Operation("catalog", "runtime.heartbeat", RuntimeBeat, RuntimeAcknowledgement)
"""Record that a runtime is alive."""
RUNTIME_DEREGISTER = Operation(
    "catalog", "runtime.deregister", RuntimeLeave, RuntimeAcknowledgement
)
"""Mark a runtime as gone."""
RUNTIME_POOLS = Operation("catalog", "runtime.pools", RuntimePoolsQuery, list[RuntimeEntry])
"""List registered runtimes."""
RUNTIME_LIVENESS = Operation("catalog", "runtime.liveness", Nothing, Liveness)
"""Return the signs of life that leases are judged by."""
RUNTIME_PURGE = Operation("catalog", "runtime.purge", RuntimePurgeRequest, PurgedRuntimes)
"""Remove worker pools that have been silent for long."""
PAUSE_PUT = Operation("catalog", "pause.put", PausePut, Pause)
"""Withhold the commands of a path or a pool, and notify the orchestrators."""
PAUSE_LIFT = Operation("catalog", "pause.lift", PauseTarget, PauseLifted)
"""Take back a pause, and notify the orchestrators."""
PAUSE_LIST = Operation("catalog", "pause.list", Nothing, PauseList)
"""List the pauses of paths and pools."""
MACHINE_LEASE = Operation("catalog", "machine.lease", MachineLeaseRequest, MachineLease)
"""Lease a free machine id."""
MACHINE_RENEW = Operation("catalog", "machine.renew", MachineRenewRequest, MachineLease)
"""Renew the lease of a machine id; 409 when it was lost."""


class CredentialName(SecretModel, OnBehalf):
    """The id or name of a credential."""

    identifier: str


class CredentialStore(CredentialCreate, OnBehalf):
    """A credential to store."""


CREDENTIAL_CREATE = Operation("catalog", "credential.create", CredentialStore, CredentialBody)
"""Store a credential in place of the one with its name."""
CREDENTIAL_LIST = Operation("catalog", "credential.list", CredentialList, CredentialListAnswer)
"""List credentials without their data, newest first."""
CREDENTIAL_GET = Operation(
    "catalog", "credential.get", CredentialRead, CredentialBody, is_secret=True
)
"""Return a credential, or what an alias of the playbook's keychain resolves to."""
CREDENTIAL_PLATFORM = Operation(
    "catalog", "credential.platform", CredentialName, CredentialBody, is_secret=True
)
"""Return a login of the platform itself, a credential that no playbook may use, to a service."""
CREDENTIAL_DELETE = Operation("catalog", "credential.delete", CredentialName, CredentialDeleted)
"""Delete a credential."""
CREDENTIAL_SEALED = Operation("catalog", "credential.sealed", SealedRead, SealedEnvelope)
"""Return a credential encrypted for the key that one worker registered."""
CREDENTIAL_CROSS_REGION = Operation(
    "catalog", "credential.cross_region", CrossRegionRequest, SealedEnvelope
)
"""Return a credential of this region encrypted for a worker of another one."""
KEYCHAIN_GET = Operation("catalog", "keychain.get", KeychainRead, KeychainState, is_secret=True)
"""Return a keychain entry and count the access."""
KEYCHAIN_PUT = Operation("catalog", "keychain.put", KeychainPut, KeychainStored)
"""Store a keychain entry in place of the one with its key."""
KEYCHAIN_DELETE = Operation("catalog", "keychain.delete", KeychainRead, KeychainState)
"""Delete a keychain entry if it exists."""
KEYCHAIN_LIST = Operation("catalog", "keychain.list", KeychainList, KeychainEntryList)
"""List the keychain entries of a catalog entry without their values."""
WALLET_ROTATE = Operation("catalog", "wallet.rotate", RotateRequest, RotateSlice)
"""Rewrap one slice of the data keys of a table; ask on with `after` until `done`."""
WALLET_STATUS = Operation("catalog", "wallet.status", Nothing, KeyStatus)
"""Count records by the version of their key."""
WALLET_KEY = Operation("catalog", "wallet.key", Nothing, KeyUsable)
"""Say whether there is a key that opens the newest stored credential."""
SECRET_AUDIT = Operation("catalog", "secret.audit", AuditQuery, AuditRecords)
"""List accesses to secrets and changes of them, newest first."""
AUTH_RESOLVE = Operation("catalog", "auth.resolve", TokenRequest, Resolved)
"""Return the principal of an API key, or why it is none."""
AUTH_GRANTS = Operation("catalog", "auth.grants", GrantsRequest, Resolved)
"""Return the principal that grants make of a JWT, session or certificate which was proven."""
AUTH_KEY_CREATE = Operation(
    "catalog", "auth.key_create", KeyCreate, KeyCreated, repeatable=False, is_secret=True
)
"""Make an API key and return it, this once."""
AUTH_KEY_LIST = Operation("catalog", "auth.key_list", KeyListRequest, KeyList)
"""List API keys without their secrets, newest first."""
AUTH_KEY_REVOKE = Operation("catalog", "auth.key_revoke", KeyName, KeyRevoked)
"""Revoke an API key for good, and notify all edges."""
AUTH_GRANT_PUT = Operation("catalog", "auth.grant_put", GrantPut, GrantBody)
"""Keep a grant in place of the one for the same claim, and notify all edges."""
AUTH_GRANT_LIST = Operation("catalog", "auth.grant_list", GrantListRequest, GrantList)
"""List grants, by kind and rank."""
AUTH_GRANT_DELETE = Operation("catalog", "auth.grant_delete", GrantName, GrantDeleted)
"""Delete a grant, and notify all edges."""
ACCESS_AUDIT_LIST = Operation("catalog", "access_audit.list", AccessAuditQuery, AccessAudit)
"""List decisions of the edges about requests, newest first."""
