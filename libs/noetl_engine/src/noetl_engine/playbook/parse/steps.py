"""Reading one step of ``workflow``."""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from noetl_engine.playbook.model import (
    LONGEST_SECONDS,
    AdmitRule,
    Pipeline,
    Step,
    Tool,
    Value,
    ValueMap,
)
from noetl_engine.playbook.parse.failures import read_errors
from noetl_engine.playbook.parse.loops import read_loop
from noetl_engine.playbook.parse.reader import Reader
from noetl_engine.playbook.parse.routers import ReadRouter, read_router
from noetl_engine.playbook.parse.tools import Mismatch, ReadTool, output_paths, read_tool
from noetl_engine.playbook.problem import Code, problem_at
from noetl_engine.playbook.yaml import MapNode, Node

_TIMEOUT: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|m|h)?\s*", re.ASCII)
_UNIT_SECONDS: Final = {None: 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class ReadStep:
    """A step with the nodes it was read from.

    Attributes:
        step: The step; values that were refused are left out.
        reader: Its mapping.
        tools: The node of its tool, or of each task of its pipeline.
        arcs: The node of each of its arcs.
    """

    step: Step
    reader: Reader
    tools: tuple[Node, ...]
    arcs: tuple[Node, ...]

    @property
    def node(self) -> MapNode:
        """The mapping of the step."""
        return self.reader.node


def read_step(reader: Reader, more_kinds: Collection[str]) -> ReadStep:
    """Read a step."""
    name = reader.required_text("step", instead=reader.path)
    read = _tool(reader, more_kinds)
    spec = reader.mapping("spec")
    loop = reader.mapping("loop")
    router = _router(reader, spec.text("next_mode") if spec else None)
    step = Step(
        name=name,
        tool=read.tool,
        next=router.router if router else None,
        loop=read_loop(loop) if loop else None,
        when=reader.text("when"),
        admit=_admit(spec) if spec else (),
        set=_object(reader, "set"),
        args=_object(reader, "args"),
        input=_input(reader),
        timeout_seconds=read_timeout(spec) if spec else None,
        repeatable=_repeatable(spec) if spec else None,
        output_select=_output_select(reader, read.tool),
        fails_softly=read_errors(reader),
        line=reader.node.entries.get("step", reader.node).line,
    )
    reader.text("desc")
    return ReadStep(step, reader, read.nodes, router.nodes if router else ())


def _tool(reader: Reader, more_kinds: Collection[str]) -> ReadTool:
    def refuse(mismatch: Mismatch) -> None:
        _refuse_variant(reader, "ToolDefinition", mismatch, mismatch.code)

    node = reader.required("tool")
    if node is None:
        return ReadTool(Tool(kind="noop"), (reader.node,))
    return read_tool(node, refuse, more_kinds=more_kinds)


def _router(reader: Reader, step_mode: str | None) -> ReadRouter | None:
    def refuse(mismatch: Mismatch) -> None:
        _refuse_variant(reader, "NextSpec", mismatch, Code.NEXT)

    node = reader.present("next")
    return None if node is None else read_router(node, refuse, step_mode=step_mode)


def _refuse_variant(reader: Reader, union: str, mismatch: Mismatch, code: Code) -> None:
    """Report the original server's text for any wrong tool or router, with our hint beside it."""
    text = f"data did not match any variant of untagged enum {union}"
    step, wrong = reader.node, mismatch.node
    problem = problem_at(text, line=step.line, column=step.column, path=reader.path, code=code)
    reader.report(
        replace(
            problem,
            line=wrong.line,
            column=wrong.column,
            hint=mismatch.hint,
            word=mismatch.kind,
        )
    )


def _object(reader: Reader, key: str) -> ValueMap:
    reader.mapping(key)
    value = reader.json(key)
    return value if isinstance(value, dict) else {}


def _input(reader: Reader) -> ValueMap:
    value = reader.json("input")
    if isinstance(value, dict):
        return value
    if value is not None:
        reader.warn("input", "input is not a mapping and is ignored")
    return {}


def _output_select(reader: Reader, tool: Tool | Pipeline) -> tuple[str, ...]:
    output = reader.json("output")
    if isinstance(output, dict):
        paths = output_paths(output.get("output_select"))
        if paths:
            return paths
    return tool.output_select if isinstance(tool, Tool) else ()


def read_timeout(spec: Reader) -> float | None:
    """Return the seconds of a ``timeout``, nothing when it is absent or not understood."""
    text = spec.text("timeout")
    if text is None:
        return None
    match = _TIMEOUT.fullmatch(text)
    seconds = float(match[1]) * _UNIT_SECONDS[match[2]] if match else 0.0
    if 0 < seconds <= LONGEST_SECONDS:
        return seconds
    what = "longer than a year" if seconds > 0 else "not a duration like 30, 30s, 5m or 1h"
    spec.warn("timeout", f"timeout '{text[:50]}' is {what} and is ignored")
    return None


def _repeatable(spec: Reader) -> bool | None:
    value = spec.json("repeatable")
    if value is None or isinstance(value, bool):
        return value
    spec.warn("repeatable", "repeatable is neither true nor false and is ignored")
    return None


def _admit(spec: Reader) -> tuple[AdmitRule, ...]:
    policy = spec.json("policy")
    admit = policy.get("admit") if isinstance(policy, dict) else None
    if admit is None:
        return ()
    rules = admit.get("rules") if isinstance(admit, dict) else None
    read = [_admit_rule(rule) for rule in rules] if isinstance(rules, list) else [None]
    known = tuple(rule for rule in read if rule is not None)
    if len(known) < len(read):
        spec.warn("policy", "admit has rules that are not understood and are ignored")
    return known


def _admit_rule(rule: Value) -> AdmitRule | None:
    if not isinstance(rule, dict):
        return None
    otherwise = rule.get("else")
    holder = otherwise if isinstance(otherwise, dict) and "then" in otherwise else rule
    then = holder.get("then")
    allow = then.get("allow") if isinstance(then, dict) else None
    if not isinstance(allow, bool):
        return None
    if "else" in rule:
        return AdmitRule(when=None, allow=allow)
    when = rule.get("when")
    if isinstance(when, bool):
        return AdmitRule(when=str(when).lower(), allow=allow)
    return AdmitRule(when=when, allow=allow) if isinstance(when, str) else None
