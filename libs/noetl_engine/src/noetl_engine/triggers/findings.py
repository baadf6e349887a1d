"""Everything that is wrong or without effect in these documents, with its place."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from noetl_contract.json import Json
from noetl_contract.subscriptions.document import spec_problems

from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.levels import Level, Schema
from noetl_engine.playbook.lint import Finding, Severity
from noetl_engine.playbook.lint.finding import finding_at, finding_at_key
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.parts import below
from noetl_engine.playbook.lint.refusals import refusal_findings
from noetl_engine.playbook.lint.source import Source
from noetl_engine.playbook.lint.templates import end_payload_findings
from noetl_engine.playbook.yaml import ListNode, MapNode, Node, compose, to_json
from noetl_engine.triggers.ended import InvalidTrigger, read_trigger
from noetl_engine.triggers.keys import (
    INGRESS_LEVELS,
    SUBSCRIPTION,
    TRIGGER,
    subscription_spec,
)
from noetl_engine.triggers.subscription import subscription_problem

_QUOTED: Final = re.compile(r"'([a-z_]+(?:\.[a-z_]+|\[\d+\])*)'")
_SPEC: Final = re.compile(r"spec(?:\.[a-z_]+)*")
_MOST: Final = 100
_SHOWN: Final = 100

type Check = Callable[[MapNode, Mapping[str, Json], Source], Iterator[Finding]]


def lint_trigger(text: str) -> list[Finding]:
    """Return the findings of a document of kind Trigger; errors where it can't be registered."""
    return linted(text, _trigger)


def lint_subscription(text: str) -> list[Finding]:
    """Return the findings of a document of kind Subscription.

    Errors are what refuses its registration, and what keeps it from ever taking a message.
    """
    return linted(text, _subscription)


def lint_described(text: str) -> list[Finding]:
    """Return the findings of a document that the catalog only keeps."""
    return linted(text, lambda _root, _tree, _source: iter(()))


def linted(text: str, check: Check) -> list[Finding]:
    """Return the findings of a document: those of every kind, and those of a check."""
    try:
        root = compose(text)
    except DecodeError as error:
        return list(refusal_findings([error.problem], None, Source(text), Guesser()))
    tree = to_json(root)
    if not isinstance(root, MapNode) or not isinstance(tree, dict):
        return [error_at(root, "", "the document is no mapping")]
    found = [*_metadata(root, tree), *check(root, tree, Source(text))]
    return sorted(found[:_MOST], key=lambda one: (one.line, one.column))


def _metadata(root: MapNode, tree: Mapping[str, Json]) -> Iterator[Finding]:
    if "metadata" not in tree:
        yield error_at(root, "", "Missing 'metadata' section")
        return
    metadata = tree["metadata"]
    names = metadata if isinstance(metadata, dict) else {}
    if not any(isinstance(names.get(key), str) for key in ("path", "name")):
        yield error_at(root.entries["metadata"], "metadata", "Missing 'path' or 'name' in metadata")


def _trigger(root: MapNode, tree: Mapping[str, Json], source: Source) -> Iterator[Finding]:
    yield from unknown_keys(root, TRIGGER.keys, "", Guesser())
    payload = below(root, "spec", "start", "payload")
    yield from end_payload_findings(payload, "spec.start.payload", source)
    try:
        read_trigger(tree, "")
    except InvalidTrigger as error:
        found = _SPEC.search(str(error))
        node, path = nearest(root, found.group() if found else "spec")
        yield error_at(node, path, str(error))


def _subscription(root: MapNode, tree: Mapping[str, Json], _source: Source) -> Iterator[Finding]:
    guess = Guesser()
    yield from unknown_keys(root, SUBSCRIPTION.keys, "", guess)
    problem = subscription_problem(tree)
    spec = tree.get("spec")
    if problem is not None:
        found = _QUOTED.search(problem)
        place, path = nearest(root, f"spec.{found[1]}" if found else "spec")
        yield error_at(place, path, problem)
    elif isinstance(spec, dict) and spec.get("mode") != "push":
        yield from _unreadable(root, spec)
    node = below(root, "spec")
    if isinstance(node, MapNode):
        schema, definitions = subscription_spec()
        yield from _unknown_below(node, schema, definitions, "spec", guess)


def _unreadable(root: MapNode, spec: Json) -> Iterator[Finding]:
    """Yield the values that the runtime refuses though the catalog takes them."""
    for where, reason in spec_problems(spec):
        node, path = nearest(root, f"spec.{where}")
        yield error_at(node, path, f"no runtime takes 'spec.{where[:_SHOWN]}': {reason}")


def _unknown_below(
    node: MapNode, schema: Schema, definitions: Mapping[str, Schema], path: str, guess: Guesser
) -> Iterator[Finding]:
    """Yield the keys that have no effect, in a mapping and in those that it holds."""
    known = schema.get("properties")
    if not isinstance(known, dict):
        return
    yield from unknown_keys(node, known, path, guess)
    for key, entry in node.entries.items():
        inner = known.get(key)
        target = str(inner.get("$ref", "")).rpartition("/")[2] if isinstance(inner, dict) else ""
        if not isinstance(entry, MapNode):
            continue
        if target in definitions:
            inside = f"{path}.{key}"
            yield from _unknown_below(entry, definitions[target], definitions, inside, guess)
        elif target in INGRESS_LEVELS:
            yield from _unknown_in(entry, INGRESS_LEVELS[target], f"{path}.{key}", guess)


def _unknown_in(node: MapNode, level: Level, path: str, guess: Guesser) -> Iterator[Finding]:
    yield from unknown_keys(node, level.keys, path, guess)
    verify = node.entries.get("verify")
    if isinstance(verify, MapNode) and "verify" in level.keys:
        yield from unknown_keys(verify, INGRESS_LEVELS["Verify"].keys, f"{path}.verify", guess)


def unknown_keys(
    node: MapNode, known: Mapping[str, object], path: str, guess: Guesser
) -> Iterator[Finding]:
    """Yield the keys of a mapping that have no effect."""
    for key in node.entries:
        if key not in known:
            message = f"unknown key '{key[:_SHOWN]}' has no effect{guess(key, known)}"
            yield finding_at_key(node, key, path, "unknown-key", message)


def nearest(root: MapNode, path: str) -> tuple[Node | tuple[int, int], str]:
    """Return the place of a value, or of the part that would hold it, and its path."""
    node: Node = root
    place: Node | tuple[int, int] = root
    reached = ""
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(node, MapNode) and part in node.entries:
            place = node.places.get(part) or node.entries[part]
            node, reached = node.entries[part], f"{reached}.{part}" if reached else part
        elif isinstance(node, ListNode) and part.isdigit() and int(part) < len(node.items):
            inner = node.items[int(part)]
            node, place = inner, inner
            reached = f"{reached}[{part}]"
        else:
            break
    return place, reached


def error_at(place: Node | tuple[int, int], path: str, message: str) -> Finding:
    """Return the finding that a document can't be registered."""
    return finding_at(place, path, "document", message, severity=Severity.ERROR)
