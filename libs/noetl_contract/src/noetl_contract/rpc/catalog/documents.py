"""Operations of the catalog about documents: playbooks, subscriptions, their versions."""

from pydantic import StrictInt

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
from noetl_contract.json import JsonObject
from noetl_contract.model import Model, example
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation


class EntryName(Model):
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


class RegisterDocument(DocumentRequest):
    """A document to keep; with ``instead_of`` its path must be the path of that entry."""

    instead_of: EntryName | None = None


class RegisterDocuments(Model):
    """Documents to keep, one by one."""

    items: list[DocumentRequest]


class EntryPage(CatalogListRequest):
    """Which entries to list; ``for_page`` adds the keys that a page shows and searches."""

    for_page: bool = False


class CatalogCounts(Model):
    """Versions of playbooks, and workers heard lately."""

    model_config = example(total_playbooks=25, total_workers=1)

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


class ContentRequest(Model):
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


class ListenerRequest(Model):
    """The last part of the gateway path of a push subscription."""

    listener: str


class ListenerSubscription(Model):
    """The subscription that listens there, with the ``spec`` of its document."""

    path: str
    catalog_id: int
    spec: JsonObject


LIST = Operation("catalog", "list", EntryPage, CatalogListAnswer)
"""List entries, newest first."""
AGENTS = Operation("catalog", "agents", CatalogListRequest, CatalogListAnswer)
"""List agents, newest first, with their metadata in the payload."""
RESOURCE = Operation("catalog", "resource", EntryName, CatalogEntry)
"""Return one entry whole."""
UI_SCHEMA = Operation("catalog", "ui_schema", EntryName, UiSchema)
"""Return the form that a document's workload asks for."""
RESOLVE = Operation("catalog", "resolve", EntryName, ResolvedEntry)
"""Return the version that an execution would run."""
CONTENT = Operation("catalog", "content", ContentRequest, EntryContent)
"""Return the text of one version, a deleted one too."""
COUNTS = Operation("catalog", "counts", Nothing, CatalogCounts)
"""Count versions of playbooks and workers heard lately."""
REGISTER = Operation("catalog", "register", RegisterDocument, RegisterAnswer, repeatable=False)
"""Store a document as the next version of its path."""
REGISTER_BATCH = Operation(
    "catalog", "register.batch", RegisterDocuments, BatchAnswer, repeatable=False
)
"""Store documents one by one; each has its own result."""
VALIDATE = Operation("catalog", "validate", DocumentRequest, ValidateAnswer)
"""List the problems of a document without storing it."""
DELETE = Operation("catalog", "delete", EntryName, MovedAnswer)
"""Delete one version, or all versions of a path."""
RESTORE = Operation("catalog", "restore", EntryName, MovedAnswer)
"""Restore one deleted version, or all of a path."""
SUBSCRIPTION_LISTENER = Operation(
    "catalog", "subscription.listener", ListenerRequest, ListenerSubscription
)
"""Find the subscription whose gateway path ends in a name."""
