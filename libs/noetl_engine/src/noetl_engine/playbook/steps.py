"""Reading one step of ``workflow``."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from noetl_engine.playbook.decode import Reader, is_null
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.loops import read_loop
from noetl_engine.playbook.model import (
    LONGEST_SECONDS,
    AdmitRule,
    Json,
    JsonObject,
    Pipeline,
    Problem,
    Router,
    Step,
    Tool,
)
from noetl_engine.playbook.routers import read_router
from noetl_engine.playbook.tools import Mismatch, output_paths, read_tool

_TIMEOUT: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|m|h)?\s*", re.ASCII)
_UNIT_SECONDS: Final = {None: 1, "s": 1, "m": 60, "h": 3600}


@dataclass(slots=True)
class Notes:
    """What is found while reading steps but isn't about shapes.

    Attributes:
        warnings: What is accepted and can't be used.
        tool_problems: What validation refuses about a step's tool, by the step's position.
        more_kinds: Tool kinds that are accepted beside ours.
    """

    warnings: list[Problem] = field(default_factory=list)
    tool_problems: dict[int, list[str]] = field(default_factory=dict)
    more_kinds: Collection[str] = ()


def read_step(reader: Reader, index: int, notes: Notes) -> Step:
    """Read a step.

    Raises:
        DecodeError: A value has the wrong shape.
    """
    name = reader.required_text("step")
    tool_problems: list[str] = []
    tool = _tool(reader, tool_problems, notes.more_kinds)
    notes.tool_problems[index] = tool_problems
    warnings = notes.warnings
    spec = reader.mapping("spec")
    loop = reader.mapping("loop")
    return Step(
        name=name,
        tool=tool,
        next=_router(reader, spec.text("next_mode") if spec else None),
        loop=read_loop(loop) if loop else None,
        when=reader.text("when"),
        admit=_admit(spec, warnings) if spec else (),
        set=_object(reader, "set"),
        args=_object(reader, "args"),
        input=_input(reader, warnings),
        timeout_seconds=_timeout(spec, warnings) if spec else None,
        output_select=_output_select(reader, tool),
        description=reader.text("desc"),
        line=reader.node.line,
        column=reader.node.column,
    )


def _tool(reader: Reader, problems: list[str], more_kinds: Collection[str]) -> Tool | Pipeline:
    node = reader.required("tool")
    try:
        return read_tool(node, problems, more_kinds=more_kinds)
    except Mismatch as mismatch:
        raise _no_variant(reader, "ToolDefinition", mismatch) from mismatch


def _router(reader: Reader, step_mode: str | None) -> Router | None:
    node = reader.present("next")
    if node is None:
        return None
    try:
        return read_router(node, step_mode=step_mode)
    except Mismatch as mismatch:
        raise _no_variant(reader, "NextSpec", mismatch) from mismatch


def _no_variant(reader: Reader, union: str, mismatch: Mismatch) -> DecodeError:
    """The reference's message for any wrong tool or router, with our hint beside it."""
    general = reader.fail(f"data did not match any variant of untagged enum {union}").problem
    return DecodeError(
        Problem(
            message=general.message,
            line=mismatch.node.line,
            column=mismatch.node.column,
            path=general.path,
            hint=mismatch.hint,
        )
    )


def _object(reader: Reader, key: str) -> JsonObject:
    reader.mapping(key)
    value = reader.json(key)
    return value if isinstance(value, dict) else {}


def _input(reader: Reader, warnings: list[Problem]) -> JsonObject:
    value = reader.json("input")
    if isinstance(value, dict):
        return value
    if value is not None:
        warnings.append(_warning(reader, "input", "input is not a mapping and is ignored"))
    return {}


def _output_select(reader: Reader, tool: Tool | Pipeline) -> tuple[str, ...]:
    output = reader.json("output")
    if isinstance(output, dict):
        paths = output_paths(output.get("output_select"))
        if paths:
            return paths
    return tool.output_select if isinstance(tool, Tool) else ()


def _timeout(spec: Reader, warnings: list[Problem]) -> float | None:
    text = spec.text("timeout")
    if text is None:
        return None
    match = _TIMEOUT.fullmatch(text)
    seconds = float(match[1]) * _UNIT_SECONDS[match[2]] if match else 0.0
    if 0 < seconds <= LONGEST_SECONDS:
        return seconds
    what = "longer than a year" if seconds > 0 else "not a duration like 30, 30s, 5m or 1h"
    message = f"timeout '{text[:50]}' is {what} and is ignored"
    warnings.append(_warning(spec, "timeout", message))
    return None


def _admit(spec: Reader, warnings: list[Problem]) -> tuple[AdmitRule, ...]:
    policy = spec.json("policy")
    admit = policy.get("admit") if isinstance(policy, dict) else None
    if admit is None:
        return ()
    rules = admit.get("rules") if isinstance(admit, dict) else None
    read = [_admit_rule(rule) for rule in rules] if isinstance(rules, list) else [None]
    known = tuple(rule for rule in read if rule is not None)
    if len(known) < len(read):
        warnings.append(
            _warning(spec, "policy", "admit has rules that are not understood and are ignored")
        )
    return known


def _admit_rule(rule: Json) -> AdmitRule | None:
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


def _warning(reader: Reader, key: str, message: str) -> Problem:
    node = reader.node.entries[key]
    return Problem(message=message, line=node.line, column=node.column, path=reader.path_of(key))


def names_a_case(reader: Reader) -> bool:
    """Whether a step has the forbidden ``case`` block."""
    case = reader.node.entries.get("case")
    return case is not None and not is_null(case)
