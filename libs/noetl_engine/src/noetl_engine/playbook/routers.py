"""Reading ``next``: four notations, one router."""

from noetl_engine.playbook.model import Arc, Json, Router, RouterForm, RouterMode
from noetl_engine.playbook.tools import Mismatch
from noetl_engine.playbook.yaml_dialect import ListNode, MapNode, Node, Scalar, to_json


def read_router(node: Node, *, step_mode: str | None) -> Router:
    """Read the ``next`` of a step.

    Args:
        node: Its value.
        step_mode: The step's ``spec.next_mode``, which counts when the router has no mode.

    Raises:
        Mismatch: It has none of the accepted shapes.
    """
    match node:
        case ListNode(items=items) if all(isinstance(item, MapNode) for item in items):
            return Router(
                mode=_mode(step_mode),
                arcs=tuple(_read_target(item) for item in items),
                form=RouterForm.TARGETS,
            )
        case ListNode(items=items):
            # Plain names are all followed, whatever the mode says.
            return Router(
                mode=RouterMode.INCLUSIVE,
                arcs=tuple(Arc(target=_text(item, "next"), line=item.line) for item in items),
                form=RouterForm.STEPS,
            )
        case Scalar():
            arc = Arc(target=_text(node, "next"), line=node.line)
            return Router(mode=_mode(step_mode), arcs=(arc,), form=RouterForm.STEP)
        case MapNode():
            return _read_arcs(node, step_mode)
        case _:
            raise Mismatch("next must be a step name, a list, or a mapping with arcs", node)


def _read_arcs(node: MapNode, step_mode: str | None) -> Router:
    spec = node.entries.get("spec")
    mode = on_no_match = None
    if isinstance(spec, MapNode):
        mode = _optional_text(spec.entries.get("mode"), "next.spec.mode")
        on_no_match = _word(spec.entries.get("on_no_match"))
    elif not _is_absent(spec) and spec is not None:
        raise Mismatch("next.spec must be a mapping", spec)
    arcs = node.entries.get("arcs")
    if arcs is not None and not _is_absent(arcs) and not isinstance(arcs, ListNode):
        raise Mismatch("next.arcs must be a list", arcs)
    items = arcs.items if isinstance(arcs, ListNode) else []
    return Router(
        mode=_mode(mode if mode is not None else step_mode),
        arcs=tuple(_read_arc(item) for item in items),
        form=RouterForm.ARCS,
        on_no_match=on_no_match,
    )


def _read_arc(node: Node) -> Arc:
    if not isinstance(node, MapNode):
        raise Mismatch("an arc must be a mapping with a step", node)
    return Arc(
        target=_target(node),
        when=_optional_text(node.entries.get("when"), "when"),
        set=_mapping(node.entries.get("set"), "set"),
        line=node.line,
    )


def _read_target(node: Node) -> Arc:
    if not isinstance(node, MapNode):
        raise Mismatch("a target must be a mapping with a step", node)
    return Arc(
        target=_target(node),
        when=_optional_text(node.entries.get("when"), "when"),
        args=_mapping(node.entries.get("args"), "args"),
        line=node.line,
    )


def _target(node: MapNode) -> str:
    target = node.entries.get("step")
    if target is None:
        raise Mismatch("an arc has no step", node)
    return _text(target, "step")


def _text(node: Node, key: str) -> str:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node.value
    raise Mismatch(f"{key} must be a string", node)


def _optional_text(node: Node | None, key: str) -> str | None:
    return None if node is None or _is_absent(node) else _text(node, key)


def _word(node: Node | None) -> str | None:
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None


def _mapping(node: Node | None, key: str) -> dict[str, Json]:
    if node is None or _is_absent(node):
        return {}
    value = to_json(node)
    if not isinstance(value, dict):
        raise Mismatch(f"{key} must be a mapping", node)
    return value


def _is_absent(node: Node | None) -> bool:
    return node is None or (isinstance(node, Scalar) and node.value is None)


def _mode(word: str | None) -> RouterMode:
    """Unknown words mean exclusive."""
    if word is not None and word.lower() == RouterMode.INCLUSIVE:
        return RouterMode.INCLUSIVE
    return RouterMode.EXCLUSIVE
