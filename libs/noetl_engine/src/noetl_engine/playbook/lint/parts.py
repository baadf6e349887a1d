"""Read steps, tools and arcs from YAML nodes, even those of an invalid playbook."""

from collections.abc import Iterator
from dataclasses import dataclass

from noetl_engine.playbook.yaml import ListNode, MapNode, Node, Scalar


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
        """Return a value of the arc."""
        return below(self.node, key)


@dataclass(frozen=True, slots=True)
class StepPart:
    """One step; a step without a readable name is called by its path."""

    node: MapNode
    name: str
    path: str

    @property
    def is_named(self) -> bool:
        """Whether it has a name of its own."""
        return text_of(self.node, "step") is not None

    @property
    def name_node(self) -> Node:
        """The node of its name."""
        return self.node.entries.get("step", self.node)

    def get(self, *keys: str) -> Node | None:
        """Return a value below the step."""
        return below(self.node, *keys)

    @property
    def is_pipeline(self) -> bool:
        """Whether the tool is a list."""
        return isinstance(self.node.entries.get("tool"), ListNode)

    def tools(self) -> Iterator[ToolPart]:
        """Yield the single tool or the items of the pipeline, in any notation."""
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
        """Yield every arc, in any notation."""
        for path, item in self.written_arcs():
            target = item.entries.get("step") if isinstance(item, MapNode) else item
            if isinstance(target, Scalar) and isinstance(target.value, str):
                yield ArcPart(item, target.value, path)

    def written_arcs(self) -> Iterator[tuple[str, Node]]:
        """Yield everything that stands in the place of an arc, with its path."""
        router = self.node.entries.get("next")
        path = f"{self.path}.next"
        if isinstance(router, MapNode):
            router, path = router.entries.get("arcs"), f"{path}.arcs"
        elif isinstance(router, Scalar) and router.value is not None:
            yield path, router
        for index, item in enumerate(items_of(router)):
            yield f"{path}[{index}]", item


def steps_of(root: MapNode) -> list[StepPart]:
    """Return the steps in document order."""
    steps = []
    for index, item in enumerate(items_of(root.entries.get("workflow"))):
        path = f"workflow[{index}]"
        if isinstance(item, MapNode):
            steps.append(StepPart(item, text_of(item, "step") or path, path))
    return steps


def workbook_tools(root: MapNode) -> Iterator[ToolPart]:
    """Yield the tools of the workbook's tasks."""
    for index, task in enumerate(items_of(root.entries.get("workbook"))):
        tool = below(task, "tool")
        if isinstance(tool, MapNode):
            yield ToolPart(tool, f"workbook[{index}].tool", None)


def below(node: Node | None, *keys: str) -> Node | None:
    """Return a value inside of mappings, nothing where there is none."""
    for key in keys:
        node = node.entries.get(key) if isinstance(node, MapNode) else None
    return node


def items_of(node: Node | None) -> list[Node]:
    """Return the items of a list, none for anything else."""
    return node.items if isinstance(node, ListNode) else []


def text_of(node: Node | None, key: str) -> str | None:
    """Return a scalar of a mapping as text; nothing for null and everything else."""
    entry = below(node, key)
    return entry.text if isinstance(entry, Scalar) and entry.value is not None else None


def scalars_of(node: Node | None, path: str = "") -> Iterator[tuple[str, Scalar]]:
    """Yield every text below a node with its path; repeats by aliases come once."""
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
