"""Playbooks that are named by documents that start executions, to check that they exist."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.lint.finding import Finding, finding_at
from noetl_engine.playbook.lint.parts import below
from noetl_engine.playbook.yaml import Node, Scalar, compose

_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "schedule": ("spec",),
    "trigger": ("spec", "start"),
    "subscription": ("spec", "dispatch"),
}


@dataclass(frozen=True, slots=True)
class StartedPlaybook:
    """A playbook that a document starts.

    Attributes:
        name: Catalog path.
        version: The one that is started; None for the newest.
        path: Its place in the document.
        node: Where it is written.
    """

    name: str
    version: int | None
    path: str
    node: Node


def started_by(root: Node, kind: str) -> tuple[StartedPlaybook, ...]:
    """Return the playbook that a document of a kind starts; none where it names none."""
    place = _PLACES.get(kind)
    node = below(root, *place, "playbook") if place else None
    if place is None or not isinstance(node, Scalar) or not isinstance(node.value, str):
        return ()
    version = below(root, *place, "version")
    number = version.value if isinstance(version, Scalar) else None
    if not isinstance(number, int) or isinstance(number, bool):
        number = None
    return (StartedPlaybook(node.value, number, ".".join((*place, "playbook")), node),)


def started_in(text: str, kind: str) -> tuple[StartedPlaybook, ...]:
    """Return the same for a text; an empty tuple for a text that can't be read."""
    try:
        return started_by(compose(text), kind)
    except DecodeError:
        return ()


def unknown_playbooks(
    found: Iterable[StartedPlaybook], missing: Collection[tuple[str, int | None]]
) -> list[Finding]:
    """Return warnings about the playbooks that are among the missing paths and versions."""
    return [
        finding_at(one.node, one.path, "unknown-playbook", _text(one))
        for one in found
        if (one.name, one.version) in missing
    ]


def _text(one: StartedPlaybook) -> str:
    what = "is not registered" if one.version is None else f"has no version {one.version}"
    return f"playbook '{one.name}' {what}: nothing can be started before it is there"
