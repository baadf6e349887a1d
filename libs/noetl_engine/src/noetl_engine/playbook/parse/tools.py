"""Reading ``tool``: one mapping, or a list of flat and labelled items.

The original server tries the shapes one after the other and, when none fits, says only that none
does. So everything that doesn't fit is a :class:`Mismatch` here, whose text becomes a hint.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from noetl_contract.tools import TOOL_KINDS

from noetl_engine.playbook.model import VERBATIM_TASK_KEYS, Pipeline, Task, Tool, Value
from noetl_engine.playbook.parse.failures import ERROR_WORDS
from noetl_engine.playbook.parse.later import leave_to_worker
from noetl_engine.playbook.problem import Code
from noetl_engine.playbook.waits import WAIT_KINDS, BadWait, check_written
from noetl_engine.playbook.yaml import ListNode, MapNode, Node, Scalar, is_absent, to_json

_TEXT_KEYS: Final = ("code", "url", "method", "query", "connection")
# Typed keys are absent when null; all others keep a null.
_TYPED_KEYS: Final = frozenset(
    {*_TEXT_KEYS, "auth", "libs", "command", "output_select", "params", "headers", "eval"}
)
# Kinds whose parameters may be a list, counted from 1, as well as a mapping.
_SQL_KINDS: Final = frozenset({"postgres", "duckdb", "ducklake"})
_ARGUMENT_KEYS: Final = ("input", "args")


class Mismatch(Exception):
    """A value doesn't have the shape that was tried."""

    def __init__(self, hint: str, node: Node, *, kind: str | None = None) -> None:
        super().__init__(hint)
        self.hint = hint
        self.node = node
        self.kind = kind

    @property
    def code(self) -> Code:
        """The class of the problem: an unknown kind of tool, or any wrong shape."""
        return Code.SHAPE if self.kind is None else Code.UNKNOWN_KIND


type Refuse = Callable[[Mismatch], None]


@dataclass(frozen=True, slots=True)
class ReadTool:
    """The tool of a step with the nodes it was read from: of the tool, or of each task."""

    tool: Tool | Pipeline
    nodes: tuple[Node, ...]


def read_tool(node: Node, refuse: Refuse, *, more_kinds: Collection[str] = ()) -> ReadTool:
    """Read the ``tool`` of a step.

    Tools of none of the accepted shapes are refused and replaced by one that does nothing; items
    without a label are left out. ``more_kinds`` are accepted beside ours.
    """
    if not isinstance(node, ListNode):
        wrong = "tool must be a mapping with a kind, or a list of such items"
        return ReadTool(_tool_or_noop(node, refuse, more_kinds, wrong), (node,))
    tasks: list[Task] = []
    nodes: list[Node] = []
    for item in node.items:
        for task, entry in _read_item(item, refuse, more_kinds)[:1]:
            tasks.append(replace(task, line=item.line))
            nodes.append(entry)
    return ReadTool(Pipeline(tasks=leave_to_worker(tasks)), tuple(nodes))


def read_single(node: MapNode, *, more_kinds: Collection[str] = ()) -> Tool:
    """Read one tool mapping.

    Raises:
        Mismatch: It isn't one.
    """
    entries = node.entries
    kind = _read_kind(node, more_kinds)
    for key in _TEXT_KEYS:
        text_at(node, key)
    if kind not in _SQL_KINDS or not _may_be_params(entries.get("params")):
        mapping_at(node, "params")
    mapping_at(node, "headers")
    headers = entries.get("headers")
    for name, value in headers.entries.items() if isinstance(headers, MapNode) else ():
        text_of(value, f"headers.{name}")
    _expect_eval(entries.get("eval"))
    written = [key for key in _ARGUMENT_KEYS if key in entries]
    if len(written) > 1:
        raise Mismatch("input and args are two names of one block, write only one", node)
    args = to_json(entries[written[0]]) if written else None
    config = {
        key: value
        for key, value in ((key, to_json(entry)) for key, entry in entries.items())
        if key not in {"kind", *written} and not (value is None and key in _TYPED_KEYS)
    }
    if kind in WAIT_KINDS:
        _check_wait(node, kind, config, written)
    spec = config.get("spec")
    return Tool(
        kind=kind,
        config=config,
        args=args,
        has_args=args is not None,
        policy=spec.get("policy") if isinstance(spec, dict) else None,
        output_select=output_paths(config.get("output_select")),
        fails_softly=_fails_softly(node),
    )


def _fails_softly(node: MapNode) -> bool | None:
    spec = node.entries.get("spec")
    errors = spec.entries.get("errors") if isinstance(spec, MapNode) else None
    if errors is None or is_absent(errors):
        return None
    word = text_of(errors, "spec.errors")
    if word not in ERROR_WORDS:
        words = " or ".join(f"'{word}'" for word in ERROR_WORDS)
        raise Mismatch(f"spec.errors must be {words}, not '{word[:50]}'", errors)
    return word == "fail"


def _check_wait(
    node: MapNode, kind: str, config: Mapping[str, Value], arguments: Collection[str]
) -> None:
    for key in arguments:
        raise Mismatch(f"{key}: kind {kind} has no such key", node.entries[key])
    try:
        check_written(kind, config)
    except BadWait as error:
        key = str(error).partition(":")[0].partition(".")[0]
        raise Mismatch(str(error), node.entries.get(key, node)) from error


def output_paths(value: Value) -> tuple[str, ...]:
    """Return the paths of an ``output_select`` list; any other shape selects nothing."""
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
        return ()
    return tuple(path for path in value if isinstance(path, str) and path)


def _is_verbatim(key: str, value: Value) -> bool:
    """Return whether a pipeline task's key goes to the worker unrendered.

    A list of ``retry`` rules speaks of answers that only the worker will have.
    """
    return key in VERBATIM_TASK_KEYS or (key == "retry" and isinstance(value, list))


def is_flat(item: MapNode) -> bool:
    """Return whether a pipeline item is the tool itself, not a label with a tool below."""
    return "kind" in item.entries and not isinstance(item.entries["kind"], MapNode)


def _read_item(item: Node, refuse: Refuse, more_kinds: Collection[str]) -> list[tuple[Task, Node]]:
    """Return the one task of a flat item, or those of a labelled one, with their nodes."""
    wrong = "a pipeline item must be a mapping"
    if not isinstance(item, MapNode):
        return [(_task("", _task_tool(item, refuse, more_kinds, wrong)), item)]
    if is_flat(item):
        label = _read_label(item, refuse)
        return [(_task(label, _task_tool(item, refuse, more_kinds, wrong)), item)]
    wrong = "a labelled pipeline item must contain a tool mapping"
    return [
        (_task(label, _task_tool(entry, refuse, more_kinds, wrong)), entry)
        for label, entry in item.entries.items()
    ]


def _tool_or_noop(node: Node, refuse: Refuse, more_kinds: Collection[str], wrong: str) -> Tool:
    if isinstance(node, MapNode):
        try:
            return read_single(node, more_kinds=more_kinds)
        except Mismatch as mismatch:
            refuse(mismatch)
    else:
        refuse(Mismatch(wrong, node))
    return Tool(kind="noop")


def _task_tool(node: Node, refuse: Refuse, more_kinds: Collection[str], wrong: str) -> Tool:
    """Return the tool of a pipeline's item, which is a worker's to run."""
    tool = _tool_or_noop(node, refuse, more_kinds, wrong)
    if tool.kind in WAIT_KINDS:
        refuse(
            Mismatch(
                f"kind {tool.kind} can't stand in a list of tools: no worker runs it; "
                "give it a step of its own",
                node,
            )
        )
    return tool


def _read_label(node: MapNode, refuse: Refuse) -> str:
    try:
        return text_at(node, "name") or ""
    except Mismatch as mismatch:
        refuse(mismatch)
    return ""


def _task(label: str, tool: Tool) -> Task:
    verbatim: dict[str, Value] = {}
    rendered: dict[str, Value] = {"kind": tool.kind}
    for key, value in tool.config.items():
        (verbatim if _is_verbatim(key, value) else rendered)[key] = value
    if tool.has_args:
        verbatim["input"] = tool.args
    return Task(label=label, tool=tool, verbatim=verbatim, rendered=rendered)


def _read_kind(node: MapNode, more_kinds: Collection[str]) -> str:
    kind = node.entries.get("kind")
    if kind is None:
        raise Mismatch("tool has no kind", node)
    if not isinstance(kind, Scalar) or not isinstance(kind.value, str):
        raise Mismatch("tool kind must be a word", kind)
    if kind.value not in TOOL_KINDS and kind.value not in more_kinds:
        word = kind.value[:100]
        raise Mismatch(f"unknown tool kind '{word}'", kind, kind=word)
    return kind.value


def text_at(owner: MapNode, key: str, *, name: str = "") -> str | None:
    """Return a text of a mapping, nothing when absent or null.

    Raises:
        Mismatch: It is something else; its ``name`` is the key's unless given.
    """
    node = owner.entries.get(key)
    return None if node is None or is_absent(node) else text_of(node, name or key)


def text_of(node: Node, name: str) -> str:
    """Return a text.

    Raises:
        Mismatch: It is something else.
    """
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node.value
    raise Mismatch(f"{name} must be a string", node)


def mapping_at(owner: MapNode, key: str) -> dict[str, Value]:
    """Return an object of a mapping, an empty one when absent or null.

    Raises:
        Mismatch: It is something else.
    """
    node = owner.entries.get(key)
    if node is None or is_absent(node):
        return {}
    value = to_json(node)
    if not isinstance(value, dict):
        raise Mismatch(f"{key} must be a mapping", node)
    return value


def _may_be_params(node: Node | None) -> bool:
    """Return whether parameters of a statement are a list, or a template of either."""
    if isinstance(node, Scalar):
        return isinstance(node.value, str) and "{{" in node.value
    return isinstance(node, ListNode)


def _expect_eval(node: Node | None) -> None:
    if node is None or is_absent(node):
        return
    if not isinstance(node, ListNode):
        raise Mismatch("eval must be a list", node)
    for item in node.items:
        _expect_action(item.entries.get("else", item) if isinstance(item, MapNode) else item)


def _expect_action(node: Node) -> None:
    if not isinstance(node, MapNode):
        raise Mismatch("an eval entry must be a mapping", node)
    action = node.entries.get("do")
    if not isinstance(action, Scalar) or not isinstance(action.value, str):
        raise Mismatch("an eval entry needs an action in 'do'", node)
    text_at(node, "expr")
    mapping_at(node, "set_vars")
