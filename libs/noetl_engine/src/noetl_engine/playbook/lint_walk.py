"""The parts of a document the checks look at, read leniently."""

from collections.abc import Iterator
from dataclasses import dataclass

from noetl_engine.playbook.yaml_dialect import ListNode, MapNode, Node, Scalar

__all__ = ["ArcPart", "StepPart", "ToolPart", "items_of", "scalars_of", "steps_of", "text_of"]


@dataclass(frozen=True, slots=True)
class ToolPart:
    """A tool mapping; ``label`` is ``None`` for a single tool."""

    node: MapNode
    path: str
    label: str | None

    @property
    def kind(self) -> str:
        """Its kind, empty when there is none."""
        return text_of(self.node, "kind") or ""


@dataclass(frozen=True, slots=True)
class ArcPart:
    """A way to another step."""

    node: Node
    target: str
    path: str

    def get(self, key: str) -> Node | None:
        """A value of the arc."""
        return self.node.entries.get(key) if isinstance(self.node, MapNode) else None


@dataclass(frozen=True, slots=True)
class StepPart:
    """One step."""

    node: MapNode
    name: str
    path: str

    def get(self, *keys: str) -> Node | None:
        """A value below the step."""
        node: Node | None = self.node
        for key in keys:
            node = node.entries.get(key) if isinstance(node, MapNode) else None
        return node

    @property
    def is_pipeline(self) -> bool:
        """Whether the tool is a list."""
        return isinstance(self.node.entries.get("tool"), ListNode)

    def tools(self) -> Iterator[ToolPart]:
        """The single tool or the items of the pipeline, whatever their notation."""
        tool = self.node.entries.get("tool")
        if isinstance(tool, MapNode):
            yield ToolPart(tool, f"{self.path}.tool", None)
        for index, item in enumerate(items_of(tool)):
            if not isinstance(item, MapNode):
                continue
            path = f"{self.path}.tool[{index}]"
            if isinstance(item.entries.get("kind"), Scalar):
                yield ToolPart(item, path, text_of(item, "name") or "")
                continue
            for label, entry in item.entries.items():
                if isinstance(entry, MapNode):
                    yield ToolPart(entry, f"{path}.{label}", label)

    def arcs(self) -> Iterator[ArcPart]:
        """Every way out, whatever the notation."""
        router = self.node.entries.get("next")
        path = f"{self.path}.next"
        if isinstance(router, MapNode):
            router, path = router.entries.get("arcs"), f"{path}.arcs"
        elif isinstance(router, Scalar) and isinstance(router.value, str):
            yield ArcPart(router, router.value, path)
        for index, item in enumerate(items_of(router)):
            target = item.text if isinstance(item, Scalar) else text_of(item, "step")
            if target is not None:
                yield ArcPart(item, target, f"{path}[{index}]")


def steps_of(root: MapNode) -> list[StepPart]:
    """The steps that have a name."""
    steps = []
    for index, item in enumerate(items_of(root.entries.get("workflow"))):
        name = text_of(item, "step")
        if isinstance(item, MapNode) and name is not None:
            steps.append(StepPart(item, name, f"workflow[{index}]"))
    return steps


def items_of(node: Node | None) -> list[Node]:
    """The items of a list, none for anything else."""
    return node.items if isinstance(node, ListNode) else []


def text_of(node: Node | None, key: str) -> str | None:
    """A scalar of a mapping as text; nothing for null and everything else."""
    entry = node.entries.get(key) if isinstance(node, MapNode) else None
    return entry.text if isinstance(entry, Scalar) and entry.value is not None else None


def scalars_of(node: Node | None, path: str = "") -> Iterator[tuple[str, Scalar]]:
    """Every text below a node with its path; what aliases repeat comes once."""
    seen: set[int] = set()
    waiting = [(path, node)]
    while waiting:
        place, current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        match current:
            case Scalar(value=str()):
                yield place, current
            case MapNode(entries=entries):
                waiting += [(f"{place}.{key}", entry) for key, entry in entries.items()][::-1]
            case ListNode(items=items):
                waiting += [(f"{place}[{i}]", item) for i, item in enumerate(items)][::-1]
