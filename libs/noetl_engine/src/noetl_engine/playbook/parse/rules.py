"""Check header, pipelines and arcs of a decoded playbook, in the original server's words."""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from noetl_engine.playbook.model import START_STEP, LoopMode, RouterForm, Tool, Value
from noetl_engine.playbook.parse.reader import problem_of
from noetl_engine.playbook.parse.steps import ReadStep
from noetl_engine.playbook.parse.tools import is_flat
from noetl_engine.playbook.problem import Code, Problem
from noetl_engine.playbook.yaml import ListNode, MapNode, Node, is_absent

API_VERSION: Final = "noetl.io/v2"
KIND: Final = "Playbook"
KINDS: Final = (KIND, "Agent")
"""Documents that run: an agent is a playbook that lists find as an agent."""
_ACTIONS: Final = ("continue", "retry", "break", "jump", "fail")
_ACTION_LIST: Final = json.dumps(list(_ACTIONS))

type _Place = tuple[Node, str]
"""A node and the text of a rule that it breaks."""


def header_problems(root: MapNode, api_version: str, kind: str) -> Iterator[Problem]:
    """Check ``apiVersion`` and ``kind``."""
    if api_version != API_VERSION:
        text = f"Unsupported API version: {api_version}. Expected {API_VERSION}"
        yield problem_of(root.entries["apiVersion"], text, "apiVersion")
    if kind not in KINDS:
        yield problem_of(root.entries["kind"], f"Invalid kind: {kind}. Expected {KIND}", "kind")


def workflow_problems(workflow: Node, steps: Sequence[ReadStep]) -> Iterator[Problem]:
    """Check the steps: first the workflow as a whole, then each in document order."""
    names: set[str] = {read.step.name for read in steps}
    if START_STEP not in names:
        yield problem_of(workflow, "Workflow must have a step named 'start'", "workflow")
    seen: set[str] = set()
    for read in steps:
        name = read.step.name
        if name in seen:
            text = f"Duplicate step name: {name}"
            yield problem_of(read.node.entries["step"], text, read.reader.path)
        seen.add(name)
    for read in steps:
        prefix = f"Step '{read.step.name}': "
        for broken in (_pipeline(read), _evals(read), _loop(read), _guard(read)):
            for node, text in broken:
                yield problem_of(node, prefix + text, read.reader.path)
        yield from _arcs(read, names)


def is_expression(text: str) -> bool:
    """Return whether a guard or ``in`` passes the contract's check, which parses nothing."""
    return bool(text) and ("{{" in text or "{" not in text)


def _pipeline(read: ReadStep) -> Iterator[_Place]:
    tool = read.node.entries.get("tool")
    if not isinstance(tool, ListNode):
        return
    for index, item in enumerate(tool.items):
        if isinstance(item, MapNode) and not is_flat(item) and len(item.entries) != 1:
            count = len(item.entries)
            yield (
                item,
                f"pipeline task[{index}] must have exactly one labeled entry (got {count})",
            )
    if not tool.items:
        yield tool, "tool pipeline must have at least one task"


def _evals(read: ReadStep) -> Iterator[_Place]:
    tool = read.step.tool
    if isinstance(tool, Tool):
        yield from _eval(tool, read.tools[0], "eval")
        return
    for task, node in zip(tool.tasks, read.tools, strict=True):
        yield from _eval(task.tool, node, f"tool[].{task.label}.eval")


def _eval(tool: Tool, node: Node, name: str) -> Iterator[_Place]:
    entries = tool.config.get("eval")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict):
            continue
        place = _eval_node(node, index)
        otherwise = entry.get("else")
        if isinstance(otherwise, dict):
            yield from _action(otherwise, place, f"{name}[{index}] else")
            continue
        expression = entry.get("expr")
        if isinstance(expression, str) and not is_expression(expression):
            yield place, f"{name}[{index}] has invalid expression: {expression}"
        yield from _action(entry, place, f"{name}[{index}]")


def _eval_node(tool: Node, index: int) -> Node:
    """Return the node of an ``eval`` entry; those of a workbook task stand at its reference."""
    entries = tool.entries.get("eval") if isinstance(tool, MapNode) else None
    return entries.items[index] if isinstance(entries, ListNode) else tool


def _action(entry: dict[str, Value], place: Node, name: str) -> Iterator[_Place]:
    action = entry.get("do")
    if action not in _ACTIONS:
        yield place, f"{name} has invalid action '{action}'. Valid: {_ACTION_LIST}"


def _loop(read: ReadStep) -> Iterator[_Place]:
    loop, node = read.step.loop, read.node.entries.get("loop")
    if loop is None or not isinstance(node, MapNode):
        return
    entries = node.entries
    if loop.collection is not None and not is_expression(loop.collection):
        yield entries["in"], f"loop.in has invalid expression: {loop.collection}"
    if not loop.iterator:
        yield entries["iterator"], "loop.iterator must not be empty"
    if loop.mode is LoopMode.CURSOR:
        has_claim = loop.cursor is not None and bool(loop.cursor.claim)
        if not has_claim and not _is_refused(entries.get("cursor"), loop.cursor):
            yield node, "loop.spec.mode=cursor requires a loop.cursor block with a claim query"
    elif loop.collection is None and not _is_refused(entries.get("in"), loop.collection):
        mode = loop.mode.value.capitalize()
        yield node, f"loop requires `in:` (the collection expression) for mode={mode}"


def _is_refused(node: Node | None, value: object) -> bool:
    """Return whether a value is written and was refused: that is reported already."""
    return value is None and not is_absent(node)


def _guard(read: ReadStep) -> Iterator[_Place]:
    when = read.step.when
    if when is not None and not is_expression(when):
        yield read.node.entries["when"], f"invalid 'when' expression: {when}"


def _arcs(read: ReadStep, names: set[str]) -> Iterator[Problem]:
    router = read.step.next
    if router is None:
        return
    name, path = read.step.name, read.reader.path
    place = "next.arcs" if router.form is RouterForm.ARCS else "next"
    for arc, node in zip(router.arcs, read.arcs, strict=True):
        entries = node.entries if isinstance(node, MapNode) else {}
        if arc.target not in names:
            text = f"Step '{name}' references unknown step '{arc.target}' in {place}"
            target = entries.get("step", node)
            yield problem_of(target, text, path, code=Code.UNKNOWN_STEP, word=arc.target)
        if arc.when is not None and not is_expression(arc.when):
            text = f"Step '{name}': {place}[].when has invalid expression: {arc.when}"
            yield problem_of(entries["when"], text, path)
