"""Places of failures in the text of a playbook."""

import re

from noetl_contract.failures.cause import Cause

from noetl_engine.playbook.model import Pipeline, Playbook, Step, Task, Tool

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


def fails_softly(playbook: Playbook, step_name: str, task: str | None, *, claims: bool) -> bool:
    """Return whether a soft error fails its step: the nearest ``spec.errors`` decides.

    Args:
        playbook: Its own word is the last one, or the server's that it was given.
        step_name: The step.
        task: The task of a pipeline that answered with the error. Of tasks with one label, any
            that asks for the failure decides.
        claims: Whether a cursor's claim answered, which the step's tool has no part in.
    """
    step = playbook.steps.get(step_name)
    if step is not None:
        own = None if claims else _of_tool(step, task)
        own = step.fails_softly if own is None else own
        if own is not None:
            return own
    return bool(playbook.fails_softly)


def _of_tool(step: Step, task: str | None) -> bool | None:
    if isinstance(step.tool, Tool):
        return step.tool.fails_softly
    found = _task_of(step, task)
    if found is None or not found.label:
        return None if found is None else found.tool.fails_softly
    same = {one.tool.fails_softly for one in step.tool.tasks if one.label == found.label}
    return True if True in same else found.tool.fails_softly


def _task_of(step: Step, named: str | None) -> Task | None:
    if named is None or not isinstance(step.tool, Pipeline):
        return None
    tasks = step.tool.tasks
    numbered = _NUMBERED.fullmatch(named)
    if numbered is not None:
        index = int(numbered[1])
        return tasks[index] if index < len(tasks) else None
    return next((task for task in tasks if task.label == named), None)
