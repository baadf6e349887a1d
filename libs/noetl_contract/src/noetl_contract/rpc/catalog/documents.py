"""Operations of the catalog about documents: playbooks, subscriptions, their versions."""

from pydantic import BaseModel, ConfigDict, StrictInt

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
from noetl_contract.rpc.models import MODEL, Nothing
from noetl_contract.rpc.operation import Operation

__all__ = [
    "AGENTS",
    "CONTENT",
    "COUNTS",
    "DELETE",
    "LIST",
    "REGISTER",
    "REGISTER_BATCH",
    "RESOLVE",
    "RESOURCE",
    "RESTORE",
    "SUBSCRIPTION_LISTENER",
    "UI_SCHEMA",
    "VALIDATE",
    "CatalogCounts",
    "ContentRequest",
    "DocumentRequest",
    "EntryContent",
    "EntryName",
    "EntryPage",
    "ListenerRequest",
    "ListenerSubscription",
    "RegisterDocument",
    "RegisterDocuments",
    "ResolvedEntry",
]


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
