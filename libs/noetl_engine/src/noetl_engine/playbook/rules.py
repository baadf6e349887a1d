"""Rules a decoded playbook must keep, with the contract's messages."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from noetl_engine.playbook.model import (
    START_STEP,
    Json,
    LoopMode,
    Pipeline,
    Problem,
    RouterForm,
    Step,
    Tool,
)

API_VERSION: Final = "noetl.io/v2"
KIND: Final = "Playbook"
_ACTIONS: Final = ("continue", "retry", "break", "jump", "fail")
_ACTION_LIST: Final = json.dumps(list(_ACTIONS))


def header_problems(api_version: str, kind: str) -> Iterator[Problem]:
    """Check ``apiVersion`` and ``kind``."""
    if api_version != API_VERSION:
        message = f"Unsupported API version: {api_version}. Expected {API_VERSION}"
        yield Problem(message=message, path="apiVersion")
    if kind != KIND:
        yield Problem(message=f"Invalid kind: {kind}. Expected {KIND}", path="kind")


def workflow_problems(
    steps: list[Step], tool_problems: Mapping[int, list[str]]
) -> Iterator[Problem]:
    """Check the steps: first the workflow as a whole, then each in document order.

    Args:
        steps: The decoded steps.
        tool_problems: What decoding found about their tools, by position.
    """
    names: set[str] = {step.name for step in steps}
    if START_STEP not in names:
        yield Problem(message="Workflow must have a step named 'start'", path="workflow")
    seen: set[str] = set()
    for index, step in enumerate(steps):
        if step.name in seen:
            yield _problem(index, step, f"Duplicate step name: {step.name}")
        seen.add(step.name)
    for index, step in enumerate(steps):
        for message in tool_problems.get(index, ()):
            yield _problem(index, step, f"Step '{step.name}': {message}")
        for message in _step_messages(step, names):
            yield _problem(index, step, message)


def is_expression(text: str) -> bool:
    """The contract's check of a guard or ``in``; it parses nothing."""
    return bool(text) and ("{{" in text or "{" not in text)


def _problem(index: int, step: Step, message: str) -> Problem:
    return Problem(message=message, line=step.line, column=step.column, path=f"workflow[{index}]")


def _step_messages(step: Step, names: set[str]) -> Iterator[str]:
    prefix = f"Step '{step.name}'"
    yield from (f"{prefix}: {message}" for message in _tool_messages(step.tool))
    yield from (f"{prefix}: {message}" for message in _loop_messages(step))
    if step.when is not None and not is_expression(step.when):
        yield f"{prefix}: invalid 'when' expression: {step.when}"
    yield from _router_messages(step, names)


def _tool_messages(tool: Tool | Pipeline) -> Iterator[str]:
    if isinstance(tool, Tool):
        yield from _eval_messages(tool, "eval")
        return
    for task in tool.tasks:
        yield from _eval_messages(task.tool, f"tool[].{task.label}.eval")


def _eval_messages(tool: Tool, name: str) -> Iterator[str]:
    entries = tool.config.get("eval")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict):
            continue
        otherwise = entry.get("else")
        if isinstance(otherwise, dict):
            yield from _action_messages(otherwise, f"{name}[{index}] else")
            continue
        expression = entry.get("expr")
        if isinstance(expression, str) and not is_expression(expression):
            yield f"{name}[{index}] has invalid expression: {expression}"
        yield from _action_messages(entry, f"{name}[{index}]")


def _action_messages(entry: dict[str, Json], name: str) -> Iterator[str]:
    action = entry.get("do")
    if action not in _ACTIONS:
        yield f"{name} has invalid action '{action}'. Valid: {_ACTION_LIST}"


def _loop_messages(step: Step) -> Iterator[str]:
    loop = step.loop
    if loop is None:
        return
    if loop.collection is not None and not is_expression(loop.collection):
        yield f"loop.in has invalid expression: {loop.collection}"
    if not loop.iterator:
        yield "loop.iterator must not be empty"
    if loop.mode is LoopMode.CURSOR:
        if loop.cursor is None or not loop.cursor.claim:
            yield "loop.spec.mode=cursor requires a loop.cursor block with a claim query"
    elif loop.collection is None:
        mode = loop.mode.value.capitalize()
        yield f"loop requires `in:` (the collection expression) for mode={mode}"


def _router_messages(step: Step, names: set[str]) -> Iterator[str]:
    if step.next is None:
        return
    place = "next.arcs" if step.next.form is RouterForm.ARCS else "next"
    for arc in step.next.arcs:
        if arc.target not in names:
            yield f"Step '{step.name}' references unknown step '{arc.target}' in {place}"
        if arc.when is not None and not is_expression(arc.when):
            yield f"Step '{step.name}': {place}[].when has invalid expression: {arc.when}"
