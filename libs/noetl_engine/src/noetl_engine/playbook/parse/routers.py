"""Reading ``next``: four notations, one router."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from noetl_engine.playbook.model import Arc, Router, RouterForm, RouterMode
from noetl_engine.playbook.parse.tools import Mismatch, Refuse, mapping_at, text_at, text_of
from noetl_engine.playbook.yaml import ListNode, MapNode, Node, is_absent


@dataclass(frozen=True, slots=True)
class ReadRouter:
    """The router of a step with the node of each of its arcs."""

    router: Router
    nodes: tuple[Node, ...]


def read_router(node: Node, refuse: Refuse, *, step_mode: str | None) -> ReadRouter:
    """Read the ``next`` of a step; arcs of the wrong shape are refused and left out.

    Args:
        node: Its value.
        refuse: Takes what has none of the accepted shapes.
        step_mode: The step's ``spec.next_mode``, which counts when the router has no mode.
    """
    match node:
        case ListNode(items=items) if all(isinstance(item, MapNode) for item in items):
            mode, form, read = _mode(step_mode), RouterForm.TARGETS, _read_target
        case ListNode(items=items):
            # Plain names are all followed, whatever the mode says.
            mode, form, read = RouterMode.INCLUSIVE, RouterForm.STEPS, _read_name
        case MapNode():
            return _read_arcs(node, refuse, step_mode)
        case _:
            items = [node]
            mode, form, read = _mode(step_mode), RouterForm.STEP, _read_name
    arcs = _accepted(items, read, refuse)
    return _with_nodes(Router(mode=mode, form=form), arcs)


def _read_arcs(node: MapNode, refuse: Refuse, step_mode: str | None) -> ReadRouter:
    spec = node.entries.get("spec")
    mode: str | None = None
    if isinstance(spec, MapNode):
        try:
            mode = text_at(spec, "mode", name="next.spec.mode")
        except Mismatch as mismatch:
            refuse(mismatch)
    elif spec is not None and not is_absent(spec):
        refuse(Mismatch("next.spec must be a mapping", spec))
    arcs = node.entries.get("arcs")
    if arcs is not None and not is_absent(arcs) and not isinstance(arcs, ListNode):
        refuse(Mismatch("next.arcs must be a list", arcs))
    router = Router(mode=_mode(mode if mode is not None else step_mode))
    items = arcs.items if isinstance(arcs, ListNode) else []
    return _with_nodes(router, _accepted(items, _read_arc, refuse))


def _accepted(
    items: list[Node], read: Callable[[Node], Arc], refuse: Refuse
) -> list[tuple[Arc, Node]]:
    arcs = []
    for item in items:
        try:
            arcs.append((read(item), item))
        except Mismatch as mismatch:
            refuse(mismatch)
    return arcs


def _with_nodes(router: Router, arcs: list[tuple[Arc, Node]]) -> ReadRouter:
    whole = replace(router, arcs=tuple(arc for arc, _ in arcs))
    return ReadRouter(whole, tuple(node for _, node in arcs))


def _read_name(node: Node) -> Arc:
    return Arc(target=text_of(node, "next"))


def _read_arc(node: Node) -> Arc:
    if not isinstance(node, MapNode):
        raise Mismatch("an arc must be a mapping with a step", node)
    return Arc(target=_target(node), when=text_at(node, "when"), set=mapping_at(node, "set"))


def _read_target(node: Node) -> Arc:
    if not isinstance(node, MapNode):
        raise Mismatch("a target must be a mapping with a step", node)
    return Arc(target=_target(node), when=text_at(node, "when"), args=mapping_at(node, "args"))


def _target(node: MapNode) -> str:
    target = node.entries.get("step")
    if target is None:
        raise Mismatch("an arc has no step", node)
    return text_of(target, "step")


def _mode(word: str | None) -> RouterMode:
    """Unknown words mean exclusive."""
    if word is not None and word.lower() == RouterMode.INCLUSIVE:
        return RouterMode.INCLUSIVE
    return RouterMode.EXCLUSIVE
