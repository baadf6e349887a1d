"""Keep templates of tasks that `do: jump` may repeat for the worker, which renders them anew.

The server renders a task once, before the pipeline runs (K4). A task that is run again by
`do: jump` would then see the same values each time: a pipeline that turns pages would ask for the
first page for ever. So in tasks that a jump can repeat, what names a value of the pipeline itself
travels as written, and the worker renders it for each run.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from noetl_engine.playbook.model import Task, Value

_BACK: Final = frozenset({"previous", "prev"})
_KEPT: Final = frozenset({"kind", "name"})


def leave_repeated(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Return the tasks, with values left unrendered where a jump can repeat a task."""
    repeated = _repeated(tasks)
    if not repeated:
        return tuple(tasks)
    names = sorted({name for task in tasks for name in _written(task)})
    mention = re.compile("|".join(rf"(?<![\w.]){re.escape(name)}\b" for name in names))
    return tuple(
        _left(task, mention) if index in repeated else task for index, task in enumerate(tasks)
    )


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


def _written(task: Task) -> Iterator[str]:
    """Yield the names a task gives values to."""
    if task.label:
        yield task.label
    for block in (task.verbatim, *_blocks(task)):
        assignments = block.get("set")
        if isinstance(assignments, dict):
            yield from assignments


def _left(task: Task, mention: re.Pattern[str]) -> Task:
    left = {
        key: value
        for key, value in task.rendered.items()
        if key not in _KEPT and _mentions(value, mention)
    }
    rendered = {key: value for key, value in task.rendered.items() if key not in left}
    return replace(task, verbatim={**task.verbatim, **left}, rendered=rendered)


def _mentions(value: Value, mention: re.Pattern[str]) -> bool:
    if isinstance(value, str):
        return ("{{" in value or "{%" in value) and mention.search(value) is not None
    if isinstance(value, dict):
        return any(_mentions(part, mention) for entry in value.items() for part in entry)
    return isinstance(value, list) and any(_mentions(part, mention) for part in value)
