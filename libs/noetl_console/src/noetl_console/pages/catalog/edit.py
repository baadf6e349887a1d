"""The editor: a text, its problems, and how it is saved as the next version."""

from dataclasses import dataclass, replace

from noetl_contract.http.catalog.entries import (
    CatalogEntry,
    ContentRequest,
    RegisterAnswer,
    RegisterRequest,
    ResourceRequest,
    ValidateAnswer,
)

from noetl_console.api import Api, Refused, path_segments
from noetl_console.drawing.differences import DifferenceLine, differences
from noetl_console.requests import BadField, Page, PageRequest, Redirect

_EXAMPLE = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata:
  name: my_playbook
  path: demo/my_playbook
workload:
  name: world
workflow:
  - step: start
    tool:
      kind: python
      args:
        name: "{{ workload.name }}"
      code: |
        result = {"greeting": f"hello {name}"}
"""


@dataclass(frozen=True, slots=True)
class Draft:
    """Document in the editor.

    Attributes:
        text: of the document.
        path: that is edited; empty for a new document.
        base: newest version of it that its author has seen; 0 where there is none.
    """

    text: str
    path: str = ""
    base: int = 0


@dataclass(frozen=True, slots=True)
class Newer:
    """A newer version that was saved meanwhile, and its differences from the draft."""

    path: str
    version: int
    differences: tuple[DifferenceLine, ...]


async def edit(api: Api, request: PageRequest) -> Page:
    """Show a text to change: that of a path's version, or an example."""
    path = request.query.get("path", "")
    if not path:
        return await _edited(api, Draft(_EXAMPLE))
    version = request.query.get("version") or "latest"
    entry = await _entry(api, path, version)
    base = entry.version
    return await _edited(api, Draft(entry.content or "", path, base))


async def check(api: Api, request: PageRequest) -> Page:
    """Show the problems of a text that is being typed."""
    return await _edited(api, _draft(request))


async def save(api: Api, request: PageRequest) -> Page | Redirect:
    """Register a text as the next version of its path.

    Only if it can run, or is wanted anyway, and if no other version has come since its author
    began; otherwise the difference is shown first.
    """
    draft = _draft(request)
    if not draft.text.strip():
        raise BadField("The text is empty")
    found = await _problems(api, draft.text)
    if found is not None and not found.valid and request.field("anyway") != "yes":
        return await _edited(api, draft, is_refused=True)
    try:
        saved = await _register(api, draft)
    except Refused as refused:
        path, version = refused.detail.get("path"), refused.detail.get("version")
        if refused.status != 409 or not isinstance(path, str) or not isinstance(version, int):
            raise
        if version == 0:
            # Its author gave it a path that nobody has used.
            saved = await _register(api, replace(draft, base=0))
        else:
            return await _asked(api, draft, path, version)
    return Redirect(f"/console/playbooks/{path_segments(saved.path)}?version={saved.version}")


async def _register(api: Api, draft: Draft) -> RegisterAnswer:
    wish = RegisterRequest(content=draft.text, newest_version=draft.base)
    return await api.send(RegisterAnswer, "catalog/register", wish)


async def _asked(api: Api, draft: Draft, path: str, version: int) -> Page:
    """Show the differences of the newest version from the draft; to save again is the answer."""
    newest = await _entry(api, path, "latest")
    lines = tuple(differences(newest.content or "", draft.text))
    newer = Newer(path, version, lines)
    return await _edited(api, replace(draft, path=path, base=version), newer=newer)


async def _entry(api: Api, path: str, version: str) -> CatalogEntry:
    return await api.send(
        CatalogEntry, "catalog/resource", ResourceRequest(path=path, version=version)
    )


def _draft(request: PageRequest) -> Draft:
    base = request.field("base")
    number = int(base) if base.isascii() and base.isdigit() and len(base) < 10 else 0
    return Draft(request.field("content"), request.field("path"), number)


async def _problems(api: Api, text: str) -> ValidateAnswer | None:
    return await api.send_if_allowed(
        ValidateAnswer, "catalog/playbooks/validate", ContentRequest(content=text)
    )


async def _edited(
    api: Api, draft: Draft, *, is_refused: bool = False, newer: Newer | None = None
) -> Page:
    found = await _problems(api, draft.text) if draft.text.strip() else None
    return Page(
        "edit.html",
        {
            "draft": draft,
            "problems": found.problems if found else [],
            "valid": found.valid if found else None,
            "is_refused": is_refused,
            "newer": newer,
        },
        title=f"Edit {draft.path}" if draft.path else "New playbook",
        status=409 if newer else 422 if is_refused else 200,
        part="parts/problems.html",
    )
