"""`register`: documents of files and folders into the catalog of a server."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from noetl_common.settings import PlaybookSettings

from noetl.commands.options import DataOption, JsonOption, ServerOption, TokenOption
from noetl.commands.output import print_findings, print_json, print_problems
from noetl.commands.validate import text_of
from noetl.exits import Exit
from noetl.follow.servers import server_of, told
from noetl.stack.errors import StackError

if TYPE_CHECKING:
    from noetl_client import Client

_ENDINGS = frozenset({".yaml", ".yml"})
_MOST_FILES = 10_000


@dataclass(frozen=True, slots=True)
class _Document:
    """A document on its way to the catalog."""

    place: str
    text: str
    kind: str
    told: set[str] = field(default_factory=set)
    """Messages of the linter about it."""


def register(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="PLACE...", help="Files, or folders of YAML files; - reads standard input."
        ),
    ],
    *,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also what has errors, as drafts are kept.")
    ] = False,
    server_url: ServerOption = None,
    token: TokenOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register documents: playbooks, schedules, triggers, subscriptions, plug-ins.

    Problems are reported with file, line and column, and a document with errors is not
    registered. Of a folder the files are taken that begin as a document does, playbooks first. Exit
    code 1 when one was not registered.
    """
    from noetl_engine.documents import lint_document  # noqa: PLC0415 -- the engine loads slowly

    more_kinds = PlaybookSettings().more_kinds()
    good, refused = [], 0
    for document in _in_order(_documents(places)):
        findings = lint_document(document.text, more_kinds=more_kinds)
        print_findings(document.place, findings)
        document.told.update(one.message for one in findings)
        if any(one.severity == "error" for one in findings) and not anyway:
            refused += 1
            typer.echo(f"{document.place}: not registered", err=True)
        else:
            good.append(document)
    done: list[dict[str, object]] = []
    if good:
        with server_of(server_url, token=token, data=data) as server:
            done = [one for one in (_registered(server, document) for document in good) if one]
    if as_json:
        print_json(done)
    else:
        for one in done:
            typer.echo(f"{one['path']} version {one['version']}")
    if refused or len(done) < len(good):
        raise typer.Exit(Exit.FAILED)


def _registered(server: "Client", document: _Document) -> dict[str, object] | None:
    """Register a document; a refusal is reported, and stops none of the others."""
    from noetl_client import Invalid, NotFound  # noqa: PLC0415 -- the HTTP client loads slowly

    try:
        kept = server.catalog.register(document.text, kind=document.kind or "Playbook")
    except (Invalid, NotFound) as error:
        sys.stderr.write(f"{document.place}: {told(error)}\n")
        return None
    print_problems(document.place, [one for one in kept.problems or () if one not in document.told])
    return {
        "file": document.place,
        "path": kept.path,
        "version": kept.version,
        "kind": kept.kind,
        "catalog_id": kept.catalog_id,
    }


def _documents(places: Iterable[Path]) -> Iterator[_Document]:
    """Yield the documents of files and folders.

    Raises:
        StackError: one can't be read, or a folder has none.
    """
    for place in places:
        if not place.is_dir():
            text = text_of(place)
            yield _Document(str(place), text, _kind_of(text) or "")
            continue
        files = sorted(one for one in place.rglob("*") if one.suffix in _ENDINGS and one.is_file())
        if len(files) > _MOST_FILES:
            raise StackError(
                f"{place} has {len(files)} YAML files; at most {_MOST_FILES} are taken"
            )
        found = 0
        for file in files:
            text = text_of(file)
            kind = _kind_of(text)
            if kind is None:
                typer.echo(f"{file}: left out, it is no document of NoETL", err=True)
                continue
            found += 1
            yield _Document(str(file), text, kind)
        if not found:
            raise StackError(f"{place} has no document in a .yaml or .yml file")


def _in_order(documents: Iterable[_Document]) -> list[_Document]:
    """Return plug-ins and then playbooks first, since others name them."""
    order = {"plugin": 0, "playbook": 1, "": 1}
    return sorted(documents, key=lambda one: order.get(one.kind.lower(), 2))


def _kind_of(text: str) -> str | None:
    """Return the kind of a document, empty if it can't be read; None for another text."""
    from noetl_engine.playbook.errors import DecodeError  # noqa: PLC0415 -- as above
    from noetl_engine.playbook.yaml import MapNode, compose  # noqa: PLC0415

    try:
        root = compose(text, skip=lambda _: None)
    except DecodeError:
        return "" if "apiVersion:" in text else None
    if not isinstance(root, MapNode):
        return None
    version, kind = (
        getattr(root.entries.get(name), "value", None) for name in ("apiVersion", "kind")
    )
    return str(kind or "") if str(version or "").startswith("noetl.io/") else None
