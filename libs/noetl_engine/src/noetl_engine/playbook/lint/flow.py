"""Steps and arcs that never run, or not as they look."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

from noetl_engine.playbook.lint.finding import Finding, Severity, finding_at, finding_at_key
from noetl_engine.playbook.lint.names import ALWAYS
from noetl_engine.playbook.lint.parts import StepPart, below, items_of, steps_of, text_of
from noetl_engine.playbook.model import POOLS_OF_PATHS, START_STEP
from noetl_engine.playbook.yaml import MapNode, Node, Scalar, is_null

_RESERVED: Final = ALWAYS | {"output", "event", "_index", "_total", "__frame_max_rows"}


def flow_findings(root: MapNode) -> Iterator[Finding]:
    """Yield the parts of steps that have another effect than their looks."""
    yield from _pool(root)
    for step in steps_of(root):
        yield from _step(step)


def _pool(root: MapNode) -> Iterator[Finding]:
    """Report a path that needs workers of another pool: without them nothing runs, silently."""
    path = below(root, "metadata", "path")
    pool = path.text.partition("/")[0] if isinstance(path, Scalar) and "/" in path.text else ""
    if pool in POOLS_OF_PATHS and path is not None:
        message = f"the path puts the commands into pool '{pool}'"
        hint = f"they wait until a worker of it runs: WORKER_POOL_NAME={pool}"
        yield finding_at(path, "metadata.path", "pool", message, severity=Severity.INFO, hint=hint)


def reachability_findings(root: MapNode) -> Iterator[Finding]:
    """Yield the steps that no path from the start reaches, and cycles without an end."""
    steps = {step.name: step for step in steps_of(root) if step.is_named}
    if START_STEP not in steps:
        return
    reached, waiting = {START_STEP}, [START_STEP]
    while waiting:
        for arc in steps[waiting.pop()].arcs():
            if arc.target in steps and arc.target not in reached:
                reached.add(arc.target)
                waiting.append(arc.target)
    for name, step in steps.items():
        if name not in reached:
            message = f"step '{name}' never runs: no arc leads to it from 'start'"
            yield finding_at(step.name_node, step.path, "unreachable-step", message)
    yield from _endless({name: steps[name] for name in reached})


def _endless(steps: Mapping[str, StepPart]) -> Iterator[Finding]:
    """Yield the first step of a cycle that has no way out."""
    ending = {name for name, step in steps.items() if _may_end(step)}
    while grown := {
        name
        for name, step in steps.items()
        if name not in ending and any(arc.target in ending for arc in step.arcs())
    }:
        ending |= grown
    stuck = [name for name in steps if name not in ending]
    if stuck:
        step = min((steps[name] for name in stuck), key=lambda one: one.node.line)
        message = f"nothing ends after step '{step.name}': every way leads round in a circle"
        yield finding_at(step.name_node, step.path, "endless", message)


def _may_end(step: StepPart) -> bool:
    """Return whether a branch may end here: nothing follows, or every arc has a condition."""
    return all(not _is_unconditional(arc.get("when")) for arc in step.arcs())


def _is_unconditional(when: Node | None) -> bool:
    return when is None or is_null(when)


def workbook_findings(root: MapNode) -> Iterator[Finding]:
    """Yield workbook tasks that refer to tasks, and tasks that no step uses."""
    tasks: dict[str, MapNode] = {}
    for item in items_of(root.entries.get("workbook")):
        name = text_of(item, "name")
        if isinstance(item, MapNode) and name is not None:
            tasks[name] = item
    for name, task in tasks.items():
        tool = task.entries.get("tool")
        if text_of(tool, "kind") == "workbook" and isinstance(tool, MapNode):
            what = "itself" if text_of(tool, "name") == name else "another workbook task"
            message = f"workbook task '{name}' names {what}: references are resolved only in steps"
            yield finding_at(
                tool, f"workbook.{name}", "workbook-cycle", message, severity=Severity.ERROR
            )
    yield from _unused(root, tasks)


def _unused(root: MapNode, tasks: Mapping[str, MapNode]) -> Iterator[Finding]:
    used = {
        text_of(tool.node, "name")
        for step in steps_of(root)
        for tool in step.tools()
        if tool.kind == "workbook"
    }
    for name, task in tasks.items():
        if name not in used:
            message = f"workbook task '{name}' is used by no step"
            yield finding_at(task, f"workbook.{name}", "unused-task", message)


def _step(step: StepPart) -> Iterator[Finding]:
    if step.name in _RESERVED:
        message = f"'{step.name}' is a name of the language: templates can't tell it from the step"
        yield finding_at(step.name_node, step.path, "reserved-name", message)
    guard = step.get("when")
    if step.name == START_STEP and guard is not None:
        message = "'when' has no effect on the start step: it always runs"
        yield finding_at(guard, f"{step.path}.when", "inert", message)
    limit = step.get("loop", "spec", "max_in_flight")
    if limit is not None and text_of(step.get("loop", "spec"), "mode") != "parallel":
        message = "'max_in_flight' has no effect: only 'mode: parallel' runs iterations together"
        yield finding_at(limit, f"{step.path}.loop.spec.max_in_flight", "inert", message)
    yield from _router(step)
    yield from _dotted_keys(step)


def _router(step: StepPart) -> Iterator[Finding]:
    router = step.get("next")
    mode = step.get("next", "spec", "mode")
    if isinstance(mode, Scalar) and mode.text.lower() not in {"exclusive", "inclusive"}:
        message = f"unknown mode '{mode.text[:50]}' means exclusive"
        yield finding_at(mode, f"{step.path}.next.spec.mode", "inert", message)
    arcs = list(step.arcs())
    if router is not None and not is_null(router) and not any(step.written_arcs()):
        message = f"'next' of step '{step.name}' leads nowhere: the branch ends here"
        yield finding_at(router, f"{step.path}.next", "inert", message)
    is_inclusive = isinstance(mode, Scalar) and mode.text.lower() == "inclusive"
    if is_inclusive or not isinstance(router, MapNode):
        return
    for before, arc in pairwise(arcs):
        when = before.get("when")
        if _is_unconditional(when):
            message = (
                f"the arc to '{arc.target}' is never taken: the one before it has no 'when' and "
                "the mode is exclusive"
            )
            yield finding_at(arc.node, arc.path, "unreachable-arc", message)
            return


def _dotted_keys(step: StepPart) -> Iterator[Finding]:
    blocks = [(step.get("set"), f"{step.path}.set")]
    blocks += [(arc.get("set"), f"{arc.path}.set") for arc in step.arcs()]
    for block, path in blocks:
        if not isinstance(block, MapNode):
            continue
        for key in block.entries:
            scope, dot, _ = key.partition(".")
            if dot and scope not in {"ctx", "iter", "step"}:
                shown = key[:100]
                message = f"no template can read '{shown}': write 'ctx.{shown.partition('.')[2]}'"
                yield finding_at_key(block, key, path, "inert", message)
