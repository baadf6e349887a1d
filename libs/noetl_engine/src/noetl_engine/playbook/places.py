"""Places of failures in the text of a playbook."""

import re

from noetl_contract.failures.cause import Cause

from noetl_engine.playbook.model import Pipeline, Playbook, Step, Task

_NUMBERED = re.compile(r"task\[(\d+)\]")


def placed(cause: Cause, playbook: Playbook) -> Cause:
    """Return a cause with the line of its task or step, and with its task's label."""
    step = playbook.steps.get(cause.step or "")
    if step is None:
        return cause
    task = _task_of(step, cause.task)
    label = cause.task
    if task is not None and task.label:
        label = task.label
    line = step.line if task is None or task.line is None else task.line
    return cause.model_copy(update={"line": line, "task": label})


def _task_of(step: Step, named: str | None) -> Task | None:
    if named is None or not isinstance(step.tool, Pipeline):
        return None
    tasks = step.tool.tasks
    numbered = _NUMBERED.fullmatch(named)
    if numbered is not None:
        index = int(numbered[1])
        return tasks[index] if index < len(tasks) else None
    return next((task for task in tasks if task.label == named), None)
