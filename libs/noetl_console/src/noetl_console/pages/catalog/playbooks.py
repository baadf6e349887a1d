"""The playbooks of the catalog, one line a path."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from noetl_contract.http.catalog.entries import CatalogEntry, CatalogListAnswer, CatalogListRequest
from noetl_contract.http.executions.reads import ExecutionEntry

from noetl_console.api import Api
from noetl_console.requests import Page, PageRequest

_RECENT = 100
_DOTS = 20


@dataclass(slots=True)
class PlaybookLine:
    """A path: its newest version, how many there are, and its newest executions."""

    newest: CatalogEntry
    versions: int
    runs: Sequence[ExecutionEntry]


async def playbooks(api: Api, request: PageRequest) -> Page:
    """List paths, of all kinds or of one, that contain a text."""
    wanted = request.query.get("path", "").strip()
    kind = request.query.get("kind", "Playbook")
    listed, recent = await asyncio.gather(
        api.send(
            CatalogListAnswer,
            "catalog/list",
            CatalogListRequest(resource_type=kind or None, brief=True),
        ),
        api.read_if_allowed(list[ExecutionEntry], "executions", limit=_RECENT),
    )
    by_path: dict[str, list[CatalogEntry]] = {}
    for entry in listed.entries:
        if wanted.lower() in entry.path.lower():
            by_path.setdefault(entry.path, []).append(entry)
    runs: dict[str, list[ExecutionEntry]] = {}
    for one in recent or []:
        runs.setdefault(one.path or "", []).append(one)
    lines = [
        PlaybookLine(
            max(entries, key=lambda one: one.version), len(entries), runs.get(path, [])[:_DOTS]
        )
        for path, entries in sorted(by_path.items())
    ]
    return Page(
        "playbooks.html",
        {
            "lines": lines,
            "path": wanted,
            "kind": kind,
            "is_truncated": bool(listed.truncated),
            "recent": _RECENT,
        },
        title="Playbooks",
    )
