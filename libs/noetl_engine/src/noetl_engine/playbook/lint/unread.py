"""Keys of tools that nothing reads: their kind has no such key, or none in that place."""

from collections.abc import Iterable, Iterator
from typing import Final

from noetl_contract.tools import KeyType, ToolKey, ToolKind

from noetl_engine.playbook.language import LEVELS
from noetl_engine.playbook.lint.finding import Finding, finding_at_key
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.parts import StepPart, ToolPart, items_of
from noetl_engine.playbook.yaml import MapNode, is_absent

# Keys whose form the parser checks in every tool, but which only some kinds read.
_OF_SOME: Final = frozenset(
    {
        "input", "args", "libs", "command", "code", "url", "method", "query", "connection",
        "params", "headers", "timeout",
    }
)  # fmt: skip
_COMMON: Final = frozenset(LEVELS["ToolSpec"].keys) - _OF_SOME
_ARGUMENTS: Final = frozenset({"input", "args"})
# Kinds that read `timeout`, alone and in a list of tools.
_TIMED: Final = frozenset({"http", "python", "shell", "script", "container", "playbook", "wasm"})
_TIMED_IN_LISTS: Final = frozenset({"http"})
_WORKBOOK: Final = frozenset({"kind", "name", "input", "args", "output_select", "spec"})
_RETRY: Final = frozenset(
    {
        "max_attempts", "max_retries", "initial_delay", "initial_delay_ms", "max_delay",
        "max_delay_ms", "backoff_multiplier", "retry_on", "retry_on_status",
    }
)  # fmt: skip
# Keys that are reported elsewhere: as misplaced, or as the reason of a refusal.
_REPORTED: Final = frozenset({"next", "loop", "step", "when", "tool"})
_REFUSED: Final = {"script": frozenset({"requirements"})}


def unread_keys(
    tool: ToolPart, kind: ToolKind, guess: Guesser, *, in_list: bool
) -> Iterator[Finding]:
    """Yield the keys that a tool's kind doesn't know, also inside of its mappings."""
    known = _known(kind, in_list=in_list)
    if known is None:
        return
    hidden = _REPORTED | _REFUSED.get(kind.name, frozenset())
    for key in tool.node.entries:
        if key not in known and key not in hidden and not is_absent(tool.node.entries[key]):
            yield _unread(tool, key, kind, known, guess)
    yield from _inside(tool.node, tool.path, kind.keys, guess)
    retry = tool.node.entries.get("retry")
    if isinstance(retry, MapNode):
        yield from _strangers(retry, f"{tool.path}.retry", _RETRY, guess)


def arguments_of_step(step: StepPart, kind: ToolKind) -> Iterator[Finding]:
    """Yield ``input`` and ``args`` of a step whose single tool takes no arguments."""
    arguments = kind.key("args")
    takes = arguments is not None and arguments.type is not KeyType.TEXT_LIST
    if takes or kind.is_open or kind.name == "workbook":
        return
    for key in ("input", "args"):
        if not is_absent(step.node.entries.get(key)):
            message = f"'{key}' has no effect: {_takes_none(kind)}"
            yield finding_at_key(step.node, key, step.path, "inert", message)


def _known(kind: ToolKind, *, in_list: bool) -> frozenset[str] | None:
    """Return the keys that a tool may have, nothing where any key may mean something."""
    if kind.name == "workbook":
        return _WORKBOOK
    if kind.is_open:
        return None
    known = kind.names | _COMMON
    if in_list:
        known |= _ARGUMENTS  # the variables of the task's templates
    if kind.name in (_TIMED_IN_LISTS if in_list else _TIMED):
        known |= {"timeout"}
    return known


def _unread(
    tool: ToolPart, key: str, kind: ToolKind, known: frozenset[str], guess: Guesser
) -> Finding:
    if key in _ARGUMENTS and kind.name != "container":
        message = f"unknown key '{key}' has no effect: {_takes_none(kind)}"
    elif key == "timeout":
        instead = "'timeout_seconds', or " if "timeout_seconds" in known else ""
        message = (
            f"unknown key 'timeout' has no effect: write {instead}'timeout' in the 'spec' of "
            "the step"
        )
    else:
        message = f"unknown key '{key[:100]}' has no effect{guess(key, known)}"
    return finding_at_key(tool.node, key, tool.path, "unknown-key", message)


def _takes_none(kind: ToolKind) -> str:
    instead = ", its values are in 'params'" if "params" in kind.names else ""
    return f"tool kind '{kind.name}' takes no arguments{instead}"


def _inside(node: MapNode, path: str, keys: Iterable[ToolKey], guess: Guesser) -> Iterator[Finding]:
    """Yield the unknown keys of the mappings of a configuration."""
    for key in keys:
        known = frozenset(name for inner in key.keys for name in inner.names)
        for name in key.names if known else ():
            value, place = node.entries.get(name), f"{path}.{name}"
            for item in (value, *items_of(value)):
                if isinstance(item, MapNode):
                    yield from _strangers(item, place, known, guess)
                    yield from _inside(item, place, key.keys, guess)


def _strangers(
    node: MapNode, path: str, known: frozenset[str], guess: Guesser
) -> Iterator[Finding]:
    for key in node.entries:
        if key not in known:
            message = f"unknown key '{key[:100]}' has no effect{guess(key, known)}"
            yield finding_at_key(node, key, path, "unknown-key", message)
