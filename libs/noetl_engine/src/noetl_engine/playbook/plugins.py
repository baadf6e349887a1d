"""Plug-ins that a playbook names, for a check against the plug-ins that exist."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from noetl_contract.plugins.names import BadName, read_reference

from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.libraries import named_tools
from noetl_engine.playbook.lint import Finding
from noetl_engine.playbook.lint.finding import finding_at
from noetl_engine.playbook.lint.parts import text_of
from noetl_engine.playbook.parse.plugins import PLUGIN_KIND
from noetl_engine.playbook.yaml import MapNode, Node, compose


@dataclass(frozen=True, slots=True)
class NamedPlugin:
    """A plug-in that a tool names.

    Attributes:
        name: As it is written.
        named: Step and task, for people.
        path: Its place in the document.
        node: Where it is written.
    """

    name: str
    named: str
    path: str
    node: Node


def plugins_of(root: Node) -> list[NamedPlugin]:
    """Return the plug-ins that the tools of a playbook name, of an invalid one too."""
    if not isinstance(root, MapNode):
        return []
    found = []
    for named, path, node in named_tools(root):
        name = text_of(node, "plugin")
        if text_of(node, "kind") != PLUGIN_KIND or name is None:
            continue
        try:
            read_reference(name)
        except BadName:
            continue
        found.append(NamedPlugin(name, named, f"{path}.plugin", node.entries["plugin"]))
    return found


def plugins_in(text: str) -> list[NamedPlugin]:
    """Return the same for a text; an empty list for a text that can't be read."""
    try:
        return plugins_of(compose(text))
    except DecodeError:
        return []


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in the order of the document."""
    return sorted(findings, key=lambda one: (one.line, one.column))


def unknown_plugins(found: Collection[NamedPlugin], known: Collection[str]) -> list[Finding]:
    """Return the findings about plug-ins that are not among the known names."""
    return [
        finding_at(one.node, one.path, "unknown-plugin", _text(one))
        for one in found
        if one.name not in known
    ]


def _text(one: NamedPlugin) -> str:
    return f"plug-in '{one.name}' is not registered: {one.named} fails"
