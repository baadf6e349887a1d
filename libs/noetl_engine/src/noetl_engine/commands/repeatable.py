"""Repeatable commands, which run again when their worker is lost."""

from collections.abc import Collection

from noetl_contract.tools import TOOLS

from noetl_engine.commands.build import BuiltCommand
from noetl_engine.playbook.model import Pipeline, Playbook


def is_repeatable(playbook: Playbook, built: BuiltCommand, *, once: Collection[str]) -> bool:
    """Return whether a command may run twice: its step says so, else its kinds of tools.

    Args:
        playbook: The playbook.
        built: The command.
        once: Kinds that may not, by the server's setting.
    """
    step = playbook.steps.get(built.step)
    if step is None:
        return True
    if step.repeatable is not None:
        return step.repeatable
    kinds = {built.tool_kind}
    if isinstance(step.tool, Pipeline):
        kinds |= {task.tool.kind for task in step.tool.tasks}
    if not kinds.isdisjoint(once):
        return False
    return all(TOOLS[kind].is_repeatable for kind in kinds if kind in TOOLS)
