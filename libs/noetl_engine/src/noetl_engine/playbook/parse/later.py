"""Find the texts of a pipeline's tasks that are left to the worker (K4).

The server renders a task before the pipeline runs, when nothing of the pipeline has a value yet.
So a text that names what only the pipeline brings travels as written, and the worker renders it
when the task runs: the result of an earlier task, a value that a task sets, the task's own input.
A task that `do: jump` repeats also sees what later tasks have brought.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

from noetl_template import TemplateError, has_server_syntax, lookups

from noetl_engine.playbook.model import Task, Value

_BACK: Final = frozenset({"previous", "prev"})
_KEPT: Final = frozenset({"kind", "name"})
# Objects that hold values of the playbook too: as a whole they mean those.
_SHARED: Final = frozenset({"ctx", "iter", "step", "steps", "workload"})


def leave_to_worker(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Return the tasks with the texts that the server must not render."""
    repeated = _repeated(tasks)
    brought = [frozenset(_brought(task)) for task in tasks]
    everything = frozenset[str]().union(*brought)
    found: list[Task] = []
    earlier: frozenset[str] = frozenset()
    for index, task in enumerate(tasks):
        names = (everything if index in repeated else earlier) | frozenset(_own(task))
        left = frozenset(_naming(task, names)) if names else frozenset[str]()
        found.append(replace(task, left=left) if left else task)
        earlier |= brought[index]
    return tuple(found)


def names_any(text: str, names: Collection[str]) -> bool:
    """Return whether a template looks up one of these names, which may be dotted.

    A text that is no template or a wrong one names nothing: the server refuses it.
    """
    if not has_server_syntax(text):
        return False
    paths = [tuple(name.split(".")) for name in names if name]
    if not any(part in text for path in paths for part in path):
        return False
    try:
        found = lookups(text)
    except TemplateError:
        return False
    return any(_meet(path, named) for path in found for named in paths)


def _meet(path: tuple[str, ...], named: tuple[str, ...]) -> bool:
    """Return whether a look-up reads a name, a part of its value, or the object that holds it."""
    if path[: len(named)] == named:
        return True
    return path[0] not in _SHARED and named[: len(path)] == path


def _naming(task: Task, names: Collection[str]) -> Iterator[str]:
    waiting: list[Value] = [value for key, value in task.rendered.items() if key not in _KEPT]
    while waiting:
        match waiting.pop():
            case str() as text if names_any(text, names):
                yield text
            case dict() as entries:
                waiting.extend(entries.values())
            case list() as elements:
                waiting.extend(elements)


def _repeated(tasks: Sequence[Task]) -> set[int]:
    labels: dict[str, int] = {}
    for index, task in enumerate(tasks):
        labels.setdefault(task.label, index)
    found: set[int] = set()
    for index, task in enumerate(tasks):
        for block in _blocks(task):
            if block.get("do") != "jump":
                continue
            to = block.get("to")
            target = index - 1 if to in _BACK else labels.get(str(to), len(tasks))
            found.update(range(max(target, 0), index + 1))
    return found


def _blocks(task: Task) -> Iterator[dict[str, Value]]:
    """Yield the action blocks of a task's rules."""
    policy = task.tool.policy
    rules = policy.get("rules") if isinstance(policy, dict) else None
    for rule in rules if isinstance(rules, list) else ():
        holder = rule.get("else") if isinstance(rule, dict) and "when" not in rule else rule
        block = holder.get("then") if isinstance(holder, dict) else None
        if isinstance(block, dict):
            yield block


def _brought(task: Task) -> Iterator[str]:
    """Yield the names that a task gives values to, for the tasks behind it."""
    if task.label:
        yield task.label
    yield from _assigned(task.verbatim.get("set"))
    yield from _set_by_rules(task)


def _own(task: Task) -> Iterator[str]:
    """Yield the names that a task brings for itself: its input, and what rules set for a try."""
    yield from _assigned(task.verbatim.get("input"))
    yield from _set_by_rules(task)


def _set_by_rules(task: Task) -> Iterator[str]:
    for block in _blocks(task):
        yield from _assigned(block.get("set"))


def _assigned(block: Value) -> Iterator[str]:
    if isinstance(block, dict):
        yield from block
