"""Packages that the steps of a playbook need: requirements of tools and headers of scripts."""

from collections.abc import Iterator
from dataclasses import dataclass

from noetl_contract.libraries.requirements import BadRequirements, Requirements

from noetl_engine.playbook.lint.parts import below, items_of, steps_of, text_of
from noetl_engine.playbook.lint.tools import tool_requirements
from noetl_engine.playbook.yaml import MapNode, Node


@dataclass(frozen=True, slots=True)
class StepLibraries:
    """Requirements of one tool.

    Attributes:
        named: Step and task, for people.
        node: Where it is written.
        path: Its place in the document.
        requirements: The packages; None with a problem.
        problem: Why they can't be read.
    """

    named: str
    node: MapNode
    path: str
    requirements: Requirements | None = None
    problem: str | None = None


def libraries_of(root: Node) -> list[StepLibraries]:
    """Return the requirements of the tools of a playbook, of an invalid one too."""
    if not isinstance(root, MapNode):
        return []
    found = []
    for named, path, node in named_tools(root):
        try:
            asked = tool_requirements(node)
        except BadRequirements as error:
            found.append(StepLibraries(named, node, path, problem=str(error)))
        else:
            if asked is not None:
                found.append(StepLibraries(named, node, path, requirements=asked))
    return found


def named_tools(root: MapNode) -> Iterator[tuple[str, str, MapNode]]:
    """Yield all tools of a playbook: words for people, place and node."""
    for step in steps_of(root):
        for tool in step.tools():
            task = f", task '{tool.label}'" if tool.label else ""
            yield f"step '{step.name}'{task}", tool.path, tool.node
    for index, item in enumerate(items_of(below(root, "workbook"))):
        node = below(item, "tool")
        if isinstance(node, MapNode):
            name = text_of(item, "name") or str(index)
            yield f"workbook action '{name}'", f"workbook[{index}].tool", node
