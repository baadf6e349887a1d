"""Replacing references to workbook tasks by the tasks themselves."""

from collections.abc import Mapping
from dataclasses import replace

from noetl_engine.playbook.model import Problem, Step, Tool, WorkbookTask


def resolve_references(
    steps: list[Step], workbook: Mapping[str, WorkbookTask]
) -> tuple[list[Step], list[Problem]]:
    """Give each step that names a workbook task that task's tool.

    Pipeline items that name one are left alone: the reference doesn't resolve them either.
    """
    resolved: list[Step] = []
    problems: list[Problem] = []
    for index, step in enumerate(steps):
        if not isinstance(step.tool, Tool) or step.tool.kind != "workbook":
            resolved.append(step)
            continue
        name = step.tool.config.get("name")
        task = workbook.get(name) if isinstance(name, str) else None
        if task is not None:
            resolved.append(_with_task(step, step.tool, task))
            continue
        problems.append(
            Problem(
                message=f"Step '{step.name}': {_what_is_missing(name, workbook)}",
                line=step.tool.line,
                column=step.column,
                path=f"workflow[{index}].tool",
            )
        )
    return resolved, problems


def _what_is_missing(name: object, workbook: Mapping[str, WorkbookTask]) -> str:
    if not isinstance(name, str):
        return "tool.kind=workbook requires a 'name' field referencing a workbook action"
    available = ", ".join(workbook)
    return f"workbook action '{name}' not found in playbook.workbook[] (available: [{available}])"


def _with_task(step: Step, reference: Tool, task: WorkbookTask) -> Step:
    """The step with the task's tool; the step's arguments win, its other keys are dropped."""
    tool = task.tool
    if isinstance(reference.args, dict) and isinstance(tool.args, dict):
        tool = replace(tool, args={**tool.args, **reference.args})
    elif reference.has_args:
        tool = replace(tool, args=reference.args, has_args=True)
    return replace(step, tool=tool, output_select=step.output_select or tool.output_select)
