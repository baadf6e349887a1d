"""Warnings about keys that are accepted and have no effect."""

import difflib
from collections.abc import Iterator
from typing import Final

from noetl_engine.playbook.language import LEVELS
from noetl_engine.playbook.problem import Code, Problem
from noetl_engine.playbook.yaml import ListNode, MapNode, Node

_EFFECTIVE: Final = {
    name: frozenset(key for key, known in level.keys.items() if known.inert is None)
    for name, level in LEVELS.items()
}


def unknown_keys(root: MapNode) -> Iterator[Problem]:
    """Yield every key that is accepted but has no effect, with its place."""
    yield from _unknown(root, "Playbook", "")
    workflow = root.entries.get("workflow")
    for index, step in enumerate(workflow.items if isinstance(workflow, ListNode) else []):
        if isinstance(step, MapNode):
            yield from _step_keys(step, f"workflow[{index}]")


def _step_keys(step: MapNode, path: str) -> Iterator[Problem]:
    yield from _unknown(step, "Step", path)
    yield from _unknown(step.entries.get("spec"), "StepSpec", f"{path}.spec")
    loop = step.entries.get("loop")
    if isinstance(loop, MapNode):
        yield from _unknown(loop, "LoopConfig", f"{path}.loop")
        yield from _unknown(loop.entries.get("spec"), "LoopSpec", f"{path}.loop.spec")
    router = step.entries.get("next")
    if isinstance(router, ListNode):
        for index, target in enumerate(router.items):
            yield from _unknown(target, "Target", f"{path}.next[{index}]")
    if isinstance(router, MapNode):
        yield from _router_keys(router, f"{path}.next")


def _router_keys(router: MapNode, path: str) -> Iterator[Problem]:
    yield from _unknown(router, "NextRouter", path)
    yield from _unknown(router.entries.get("spec"), "NextSpec", f"{path}.spec")
    arcs = router.entries.get("arcs")
    for index, arc in enumerate(arcs.items if isinstance(arcs, ListNode) else []):
        yield from _unknown(arc, "Arc", f"{path}.arcs[{index}]")


def _unknown(node: Node | None, level: str, path: str) -> Iterator[Problem]:
    if not isinstance(node, MapNode):
        return
    known = _EFFECTIVE[level]
    for key, value in node.entries.items():
        if key in known:
            continue
        shown = key[:100]
        guesses = difflib.get_close_matches(shown, known, n=1)
        advice = f", did you mean '{guesses[0]}'?" if guesses else ""
        yield Problem(
            code=Code.IGNORED,
            text=f"key '{shown}' has no effect{advice}",
            line=value.line,
            column=value.column,
            path=f"{path}.{shown}" if path else shown,
        )
