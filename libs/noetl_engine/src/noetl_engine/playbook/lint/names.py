"""Names that templates of a playbook can use."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from noetl_engine.playbook.lint.parts import (
    StepPart,
    below,
    items_of,
    scalars_of,
    steps_of,
    text_of,
)
from noetl_engine.playbook.model import Value
from noetl_engine.playbook.parse.keychain import credential_named, token_endpoint
from noetl_engine.playbook.yaml import MapNode, Node
from noetl_engine.state.results import bare_name

ALWAYS: Final = frozenset(
    {"workload", "ctx", "steps", "execution_id", "catalog_id", "path", "version", "iter"}
)
BY_WORKER: Final = frozenset(
    {"step", "server_url", "worker_id", "command_id", "action", "node_name", "execution_id"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names declared in the whole document.

    Attributes:
        flat: Every name that stands for itself, and below ``ctx``.
        workload: Its keys, ``None`` when there is no mapping that could list them.
        steps: Names of the steps.
        is_certain: Whether these are all: a result may set variables of its own.
        keychain: Whether its entries have a value of their own, by name; None without a block.
    """

    flat: frozenset[str]
    workload: frozenset[str] | None
    steps: frozenset[str]
    is_certain: bool
    keychain: Mapping[str, bool] | None


def names_of(root: MapNode) -> Names:
    """Collect the names of a document."""
    steps = steps_of(root)
    workload = root.entries.get("workload")
    keys = frozenset(workload.entries) if isinstance(workload, MapNode) else None
    names = frozenset(step.name for step in steps)
    variables = frozenset(name for step in steps for name in _variables(step))
    return Names(
        flat=names | variables | (keys or frozenset()),
        workload=keys,
        steps=names,
        is_certain=not any(
            "_context_updates" in scalar.text
            for step in steps
            for _, scalar in scalars_of(step.get("tool"))
        ),
        keychain=keychain_of(root) if "keychain" in root.entries else None,
    )


def keychain_of(root: MapNode) -> dict[str, bool]:
    """Return the entries of the keychain: whether each says where its value comes from."""
    return {
        name: bool(
            text_of(entry, "provider")
            or credential_named(_texts(entry))
            or token_endpoint(_texts(entry))
        )
        for entry in items_of(root.entries.get("keychain"))
        if (name := text_of(entry, "name")) is not None
    }


def _texts(entry: Node) -> dict[str, Value]:
    keys = ("kind", "provider", "credential", "endpoint")
    return {key: text for key in keys if (text := text_of(entry, key)) is not None}


def iteration_names(step: StepPart) -> frozenset[str]:
    """Return the names inside an iteration, none for a step without loop."""
    loop = step.get("loop")
    if not isinstance(loop, MapNode):
        return frozenset()
    return frozenset({text_of(loop, "iterator") or "", "_index", "_total", "iter"})


def _variables(step: StepPart) -> Iterator[str]:
    yield from _bare(step.get("set"))
    for arc in step.arcs():
        yield from _bare(arc.get("set"))
        yield from _bare(arc.get("args"))
    for tool in step.tools():
        yield from _bare(tool.node.entries.get("set"))
        for rule in rules_of(tool.node):
            yield from _bare(below(rule, "then", "set"))
            yield from _bare(below(rule, "else", "then", "set"))


def rules_of(tool: MapNode) -> list[MapNode]:
    """Return the rules of a tool's policy."""
    rules = items_of(below(tool, "spec", "policy", "rules"))
    return [rule for rule in rules if isinstance(rule, MapNode)]


def _bare(block: Node | None) -> Iterator[str]:
    if isinstance(block, MapNode):
        for key in block.entries:
            # Dotted keys make nested objects on the worker, so their first part is a name too.
            yield from (bare_name(key), key.partition(".")[0])
