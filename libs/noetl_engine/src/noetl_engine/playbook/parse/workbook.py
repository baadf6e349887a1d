"""Replacing references to workbook tasks by the tasks themselves."""

from collections.abc import Mapping
from dataclasses import replace

from noetl_engine.playbook.model import Step, Tool
from noetl_engine.playbook.parse.reader import Report, problem_of
from noetl_engine.playbook.parse.steps import ReadStep
from noetl_engine.playbook.problem import Code


def resolve_reference(read: ReadStep, workbook: Mapping[str, Tool], report: Report) -> ReadStep:
    """Give a step that names a workbook task that task's tool; report a name of no task.

    Pipeline items that name a task are left alone: the original server doesn't resolve them either.
    """
    tool = read.step.tool
    if not isinstance(tool, Tool) or tool.kind != "workbook":
        return read
    name = tool.config.get("name")
    task = workbook.get(name) if isinstance(name, str) else None
    if task is not None:
        return replace(read, step=_with_task(read.step, tool, task))
    text = f"Step '{read.step.name}': {_missing(name, workbook)}"
    word = name if isinstance(name, str) else None
    path = read.reader.path_of("tool")
    report(problem_of(read.tools[0], text, path, code=Code.UNKNOWN_TASK, word=word))
    return read


def _missing(name: object, workbook: Mapping[str, Tool]) -> str:
    if not isinstance(name, str):
        return "tool.kind=workbook requires a 'name' field referencing a workbook action"
    available = ", ".join(workbook)
    return f"workbook action '{name}' not found in playbook.workbook[] (available: [{available}])"


def _with_task(step: Step, reference: Tool, tool: Tool) -> Step:
    """Return the step with the task's tool.

    Arguments and ``spec.errors`` of the reference win, its other keys are dropped.
    """
    if isinstance(reference.args, dict) and isinstance(tool.args, dict):
        tool = replace(tool, args={**tool.args, **reference.args})
    elif reference.has_args:
        tool = replace(tool, args=reference.args, has_args=True)
    if reference.fails_softly is not None:
        tool = replace(tool, fails_softly=reference.fails_softly)
    return replace(step, tool=tool, output_select=step.output_select or tool.output_select)
