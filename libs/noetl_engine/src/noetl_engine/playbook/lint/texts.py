"""Find each template of a playbook, the side that renders it, and the names in its scope."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from noetl_engine.playbook.lint.names import BY_WORKER, iteration_names, keychain_of, rules_of
from noetl_engine.playbook.lint.parts import (
    StepPart,
    ToolPart,
    below,
    items_of,
    scalars_of,
    steps_of,
    text_of,
)
from noetl_engine.playbook.model import START_STEP, VERBATIM_TASK_KEYS
from noetl_engine.playbook.parse.keychain import entries_named
from noetl_engine.playbook.parse.later import names_any
from noetl_engine.playbook.yaml import ListNode, MapNode, Node, Scalar

_OUTCOME: Final = frozenset({"output", "event"})
_RULE_NAMES: Final = frozenset({"output", "_attempt", "_task"})


@dataclass(frozen=True, slots=True)
class Use:
    """Purpose of a text."""

    is_guard: bool = False
    is_collection: bool = False
    is_rule: bool = False
    is_code: bool = False
    is_value: bool = False
    is_answer: bool = False
    """It speaks of an answer whose names only the tool knows."""


_GUARD: Final = Use(is_guard=True)
_VALUE: Final = Use(is_value=True)
_ANSWER: Final = Use(is_answer=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The surroundings of texts.

    Attributes:
        names: Names they see beside those of the whole document; those of an iteration when
            nothing else is given.
        by_worker: Whether the worker's rules apply.
        use: What they are for.
        given_to: Kind of the tool that they are given to, with what they name of the keychain;
            empty where the keychain has no values.
    """

    names: frozenset[str] | None = None
    by_worker: bool = False
    given_to: str = ""
    use: Use = field(default_factory=Use)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text that is rendered: its node and path, the name of its step, and its scope."""

    node: Scalar
    path: str
    step: str
    names: frozenset[str]
    view: View


def texts_of(root: MapNode) -> Iterator[Text]:
    """Yield the texts of all steps, in document order of the steps."""
    entries = frozenset(keychain_of(root))
    for step in steps_of(root):
        yield from _Step(step, entries).texts()


class _Step:
    def __init__(self, step: StepPart, entries: frozenset[str]) -> None:
        self.step = step
        self.entries = entries
        self.names = iteration_names(step)

    def texts(self) -> Iterator[Text]:
        step = self.step
        if step.name != START_STEP:
            yield from self._some(("when",), View(use=_GUARD, names=frozenset()))
        for index, rule in enumerate(items_of(step.get("spec", "policy", "admit", "rules"))):
            path = f"{step.path}.spec.policy.admit.rules[{index}].when"
            yield from self._below(below(rule, "when"), path, View(use=_GUARD, names=frozenset()))
        yield from self._some(("loop", "in"), View(use=Use(is_collection=True), names=frozenset()))
        for count in (("max_in_flight",), ("frame", "max_rows"), ("frame", "row_concurrency")):
            yield from self._some(("loop", "spec", *count), View(names=frozenset()))
        claim = frozenset({"__frame_max_rows"})
        yield from self._some(("loop", "cursor", "claim"), View(names=claim))
        single = self._single_kind()
        yield from self._some(("input",), View(use=_VALUE, given_to=single))
        view = View(by_worker=True, names=self.names | BY_WORKER, given_to=single)
        yield from self._some(("args",), view)
        yield from self._tools()
        yield from self._some(("set",), View(use=_VALUE, names=_OUTCOME))
        yield from self._arcs()

    def _single_kind(self) -> str:
        return "" if self.step.is_pipeline else next((t.kind for t in self.step.tools()), "")

    def _arcs(self) -> Iterator[Text]:
        for arc in self.step.arcs():
            when = arc.get("when")
            yield from self._below(when, f"{arc.path}.when", View(use=_GUARD, names=_OUTCOME))
            # The arcs of a failure see the failure.
            failure = isinstance(when, Scalar) and "event" in when.text
            names = _OUTCOME if failure else frozenset[str]()
            yield from self._below(arc.get("set"), f"{arc.path}.set", View(use=_VALUE, names=names))

    def _tools(self) -> Iterator[Text]:
        step = self.step
        inputs = step.get("input")
        if not step.is_pipeline:
            for tool in step.tools():
                yield from self._single(tool)
            return
        names = self.names
        if isinstance(inputs, MapNode):
            names |= frozenset(inputs.entries)
        tools = list(step.tools())
        brought = [_brought(tool) for tool in tools]
        # A jump may lead back to any task, after all others.
        earlier = frozenset[str]().union(*(brought if any(map(_may_jump, tools)) else ()))
        for tool, new in zip(tools, brought, strict=True):
            yield from self._task(tool, names, earlier)
            earlier |= new

    def _single(self, tool: ToolPart) -> Iterator[Text]:
        for key, entry in tool.node.entries.items():
            path = f"{tool.path}.{key}"
            if key == "spec":
                yield from self._policy(tool, frozenset())
            elif _holds_rules(key, entry):
                yield from self._below(entry, path, View(by_worker=True, use=_ANSWER))
            else:
                yield from self._below(entry, path, View(use=_use_of(key), given_to=tool.kind))

    def _task(
        self, tool: ToolPart, names: frozenset[str], earlier: frozenset[str]
    ) -> Iterator[Text]:
        inputs = tool.node.entries.get("input") or tool.node.entries.get("args")
        own = frozenset(inputs.entries) if isinstance(inputs, MapNode) else frozenset[str]()
        for key, entry in tool.node.entries.items():
            path = f"{tool.path}.{key}"
            if key == "spec":
                yield from self._policy(tool, names | _first_parts(earlier) | own)
            elif _holds_rules(key, entry):
                yield from self._below(entry, path, View(by_worker=True, use=_ANSWER))
            elif key in VERBATIM_TASK_KEYS or key == "args":
                seen = names | _first_parts(earlier) | BY_WORKER
                if key == "set":
                    seen |= own | {"output"} | _first_parts(_keys(tool.node.entries.get("set")))
                if key == "command":
                    seen |= own
                to = tool.kind if key != "set" else ""
                view = View(by_worker=True, names=seen, use=_VALUE, given_to=to)
                yield from self._below(entry, path, view)
            else:
                view = View(names=names, use=_use_of(key), given_to=tool.kind)
                yield from self._rendered(entry, path, view, earlier | own)

    def _rendered(self, node: Node, path: str, view: View, later: frozenset[str]) -> Iterator[Text]:
        """Yield texts that the server renders, unless they name values of the pipeline."""
        seen = (view.names or frozenset()) | _first_parts(later) | BY_WORKER
        for place, scalar in scalars_of(node, path):
            is_left = names_any(scalar.text, later)
            yield self._text(
                scalar, place, replace(view, names=seen, by_worker=True) if is_left else view
            )

    def _policy(self, tool: ToolPart, names: frozenset[str]) -> Iterator[Text]:
        names |= self.names | _RULE_NAMES | BY_WORKER
        for rule in rules_of(tool.node):
            for path, node in scalars_of(rule, f"{tool.path}.spec.policy.rules"):
                is_when = path.endswith(".when")
                view = View(names=names, by_worker=True, use=Use(is_rule=is_when))
                yield self._text(node, path, view)

    def _some(self, keys: tuple[str, ...], view: View) -> Iterator[Text]:
        path = ".".join((self.step.path, *keys))
        yield from self._below(self.step.get(*keys), path, view)

    def _below(self, node: Node | None, path: str, view: View) -> Iterator[Text]:
        for place, scalar in scalars_of(node, path):
            yield self._text(scalar, place, view)

    def _text(self, node: Scalar, path: str, view: View) -> Text:
        names = self.names if view.names is None else view.names
        if view.given_to and not view.by_worker and entries_named(node.text, self.entries):
            names, view = names | BY_WORKER, replace(view, by_worker=True)
        return Text(node=node, path=path, step=self.step.name, names=names, view=view)


def _holds_rules(key: str, entry: Node) -> bool:
    return key == "retry" and isinstance(entry, ListNode)


def _use_of(key: str) -> Use:
    if key == "code":
        return Use(is_code=True)
    return Use(is_value=key in {"input", "args"})


def _brought(tool: ToolPart) -> frozenset[str]:
    """Return the names that a task gives values to, as written."""
    found = frozenset({tool.label or ""}) | _keys(tool.node.entries.get("set"))
    for rule in rules_of(tool.node):
        found |= _keys(below(rule, "then", "set"))
        found |= _keys(below(rule, "else", "then", "set"))
    return found


def _may_jump(tool: ToolPart) -> bool:
    blocks = (
        block
        for rule in rules_of(tool.node)
        for block in (below(rule, "then"), below(rule, "else", "then"))
    )
    return any(text_of(block, "do") == "jump" for block in blocks)


def _keys(block: Node | None) -> frozenset[str]:
    return frozenset(block.entries) if isinstance(block, MapNode) else frozenset()


def _first_parts(names: frozenset[str]) -> frozenset[str]:
    return frozenset(name.partition(".")[0] for name in names)
