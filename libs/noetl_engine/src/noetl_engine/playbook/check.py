"""Warnings: what a playbook says that nothing listens to."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Final

from noetl_engine.playbook.model import Problem
from noetl_engine.playbook.yaml_dialect import ListNode, MapNode, Node

_ROOT: Final = frozenset(
    {"apiVersion", "kind", "metadata", "workload", "workflow", "keychain", "workbook"}
)
_STEP: Final = frozenset(
    {"step", "desc", "tool", "next", "loop", "when", "set", "spec", "args", "input", "output"}
)
_STEP_SPEC: Final = frozenset({"next_mode", "timeout", "policy"})
_LOOP: Final = frozenset({"in", "iterator", "spec", "cursor"})
_LOOP_SPEC: Final = frozenset({"mode", "max_in_flight", "frame"})
_ROUTER: Final = frozenset({"spec", "arcs"})
_ROUTER_SPEC: Final = frozenset({"mode", "on_no_match"})
_ARC: Final = frozenset({"step", "when", "set"})
_TARGET: Final = frozenset({"step", "when", "args"})


def unknown_keys(root: Node) -> tuple[Problem, ...]:
    """Every key that is accepted but has no effect, with its place."""
    if not isinstance(root, MapNode):
        return ()
    return tuple(_root_keys(root))


def _root_keys(root: MapNode) -> Iterator[Problem]:
    yield from _unknown(root, _ROOT, "")
    workflow = root.entries.get("workflow")
    for index, step in enumerate(workflow.items if isinstance(workflow, ListNode) else []):
        if isinstance(step, MapNode):
            yield from _step_keys(step, f"workflow[{index}]")


def _step_keys(step: MapNode, path: str) -> Iterator[Problem]:
    yield from _unknown(step, _STEP, path)
    yield from _unknown(step.entries.get("spec"), _STEP_SPEC, f"{path}.spec")
    loop = step.entries.get("loop")
    if isinstance(loop, MapNode):
        yield from _unknown(loop, _LOOP, f"{path}.loop")
        yield from _unknown(loop.entries.get("spec"), _LOOP_SPEC, f"{path}.loop.spec")
    router = step.entries.get("next")
    if isinstance(router, ListNode):
        for index, target in enumerate(router.items):
            yield from _unknown(target, _TARGET, f"{path}.next[{index}]")
    if isinstance(router, MapNode):
        yield from _router_keys(router, f"{path}.next")


def _router_keys(router: MapNode, path: str) -> Iterator[Problem]:
    yield from _unknown(router, _ROUTER, path)
    yield from _unknown(router.entries.get("spec"), _ROUTER_SPEC, f"{path}.spec")
    arcs = router.entries.get("arcs")
    for index, arc in enumerate(arcs.items if isinstance(arcs, ListNode) else []):
        yield from _unknown(arc, _ARC, f"{path}.arcs[{index}]")


def _unknown(node: Node | None, known: Iterable[str], path: str) -> Iterator[Problem]:
    if not isinstance(node, MapNode):
        return
    for key, value in node.entries.items():
        if key in known:
            continue
        shown = key[:100]
        guesses = difflib.get_close_matches(shown, known, n=1)
        advice = f", did you mean '{guesses[0]}'?" if guesses else ""
        yield Problem(
            message=f"key '{shown}' has no effect{advice}",
            line=value.line,
            column=value.column,
            path=f"{path}.{shown}" if path else shown,
        )
