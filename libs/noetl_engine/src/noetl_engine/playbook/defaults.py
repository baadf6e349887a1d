"""Settings of the server, written into a playbook that leaves them open."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from noetl_engine.playbook.model import Pipeline, Playbook, Step, Task, Tool, Value

_PLAYBOOK = "playbook"
_ON_CHILD_FAILURE = "on_child_failure"


@dataclass(frozen=True, slots=True)
class Defaults:
    """Settings that playbooks may overrule.

    Attributes:
        fails_softly: a soft error fails its step.
        fails_with_child: a `playbook` step fails with the child that it waits for.
    """

    fails_softly: bool = False
    fails_with_child: bool = False


def with_defaults(playbook: Playbook, defaults: Defaults) -> Playbook:
    """Return a playbook with everything decided."""
    if playbook.fails_softly is None:
        playbook = replace(playbook, fails_softly=defaults.fails_softly)
    if not defaults.fails_with_child:
        return playbook
    steps = {name: _with_child_rule(step) for name, step in playbook.steps.items()}
    return replace(playbook, steps=steps)


def _with_child_rule(step: Step) -> Step:
    tool = step.tool
    if isinstance(tool, Pipeline):
        return replace(step, tool=Pipeline(tasks=tuple(map(_task, tool.tasks))))
    return replace(step, tool=_tool(tool))


def _task(task: Task) -> Task:
    tool = _tool(task.tool)
    if tool is task.tool:
        return task
    return replace(task, tool=tool, rendered=_ruled(task.rendered))


def _tool(tool: Tool) -> Tool:
    waits = tool.kind == _PLAYBOOK and tool.config.get("return_step") is not None
    if not waits or _ON_CHILD_FAILURE in tool.config:
        return tool
    return replace(tool, config=_ruled(tool.config))


def _ruled(config: Mapping[str, Value]) -> dict[str, Value]:
    return {**config, _ON_CHILD_FAILURE: "fail"}
