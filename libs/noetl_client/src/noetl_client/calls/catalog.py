"""Documents of the catalog."""

import base64
from urllib.parse import quote

from noetl_contract.http.catalog.entries import (
    CatalogEntry,
    CatalogListAnswer,
    CatalogListRequest,
    MovedAnswer,
    RegisterAnswer,
    RegisterRequest,
    ResourceRequest,
    UiSchema,
    ValidateAnswer,
)

from noetl_client.calls.call import Again, Call, Id, get, given, send


def register(text: str, *, kind: str = "Playbook") -> Call[RegisterAnswer]:
    """Register a document as the next version of its path.

    Args:
        text: the document in YAML.
        kind: kind of a document that doesn't name its kind.
    """
    return send("/api/catalog/register", RegisterAnswer, _document(text, kind))


def validate(text: str, *, kind: str = "Playbook") -> Call[ValidateAnswer]:
    """Return all problems of a document, without storing it."""
    path = "/api/catalog/playbooks/validate"
    return send(path, ValidateAnswer, _document(text, kind), again=Again.SAFE)


def entries(
    *, kind: str | None = None, path: str | None = None, brief: bool = True
) -> Call[CatalogListAnswer]:
    """List entries, newest first; ``brief`` omits their large parts."""
    body = CatalogListRequest(brief=brief, **given(resource_type=kind, path=path))
    return send("/api/catalog/list", CatalogListAnswer, body, again=Again.SAFE)


def entry(path: str, *, version: int | str | None = None) -> Call[CatalogEntry]:
    """Read one version of a path, by default the newest."""
    body = ResourceRequest(path=path, **given(version=version))
    return send("/api/catalog/resource", CatalogEntry, body, again=Again.SAFE)


def entry_by_id(catalog_id: Id) -> Call[CatalogEntry]:
    """Read one version by its id."""
    body = ResourceRequest(catalog_id=catalog_id)
    return send("/api/catalog/resource", CatalogEntry, body, again=Again.SAFE)


def remove(path: str, *, version: int | str | None = None) -> Call[MovedAnswer]:
    """Remove one version of a path, or all; executions continue, a schedule ends."""
    body = ResourceRequest(path=path, **given(version=version))
    return send("/api/catalog/delete", MovedAnswer, body)


def restore(path: str, *, version: int | str | None = None) -> Call[MovedAnswer]:
    """Restore removed documents."""
    body = ResourceRequest(path=path, **given(version=version))
    return send("/api/catalog/restore", MovedAnswer, body)


def form(path: str, *, version: int | str | None = None) -> Call[UiSchema]:
    """Read the form for the workload of a playbook."""
    is_plain = not {"", ".", ".."} & set(path.split("/"))
    named = quote(path, safe="/" if is_plain else "")
    return get(f"/api/catalog/{named}/ui_schema", UiSchema, version=version)


def _document(text: str, kind: str) -> RegisterRequest:
    # The server also accepts plain text, which could look like base64 by chance.
    content = base64.b64encode(text.encode()).decode()
    return RegisterRequest(content=content, resource_type=kind)
