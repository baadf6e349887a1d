"""Everything the parser refuses, not only the first.

The parser itself says what is wrong. Then the refused part is replaced by something harmless and
the parser is asked again, until it has nothing new to say: so linter and parser can't disagree.
"""

import re
from collections.abc import Collection
from typing import Final

from noetl_engine.playbook.errors import DecodeError, PlaybookError
from noetl_engine.playbook.lint_finding import Finding, Severity
from noetl_engine.playbook.lint_guess import Guesser
from noetl_engine.playbook.lint_mask import mask
from noetl_engine.playbook.lint_place import place_of
from noetl_engine.playbook.lint_source import Source
from noetl_engine.playbook.lint_walk import items_of, text_of
from noetl_engine.playbook.model import Problem
from noetl_engine.playbook.parse import read_playbook
from noetl_engine.playbook.tools import TOOL_KINDS
from noetl_engine.playbook.yaml_dialect import MapNode, Node, YamlLimits, compose

__all__ = ["PARSER_RULES", "read_leniently"]

PARSER_RULES: Final = frozenset({"yaml", "shape", "rule"})
_MAX_ROUNDS: Final = 50
_MAX_NAMES: Final = 300
_PLACE: Final = re.compile(r" at line \d+ column \d+$")
_UNKNOWN_STEP: Final = re.compile(r"references unknown step '(.*)' in next")
_UNKNOWN_ACTION: Final = re.compile(r"workbook action '(.*)' not found")
_UNKNOWN_KIND: Final = re.compile(r"unknown tool kind '(.*)'")


def read_leniently(
    text: str,
    source: Source,
    guess: Guesser,
    *,
    limits: YamlLimits | None = None,
    more_kinds: Collection[str] = (),
) -> tuple[list[Finding], MapNode | None]:
    """What the parser refuses, and the document without it.

    Returns:
        The findings, and nothing for a document when there is none to look at.
    """
    faults: list[Problem] = []
    try:
        root: Node | None = compose(text, limits=limits, skip=faults.append)
    except DecodeError as error:
        faults.append(error.problem)
        root = None
    findings = [_yaml_finding(fault, source) for fault in faults]
    if root is None:
        return findings, None
    findings += _refusals(root, guess, more_kinds)
    return findings, root if isinstance(root, MapNode) else None


def _yaml_finding(problem: Problem, source: Source) -> Finding:
    line = problem.line or 1
    return Finding(
        severity=Severity.ERROR,
        rule="yaml",
        message=_PLACE.sub("", problem.message),
        line=line,
        column=problem.column or 1,
        path=problem.path,
        hint=source.advice(line),
    )


def _refusals(root: Node, guess: Guesser, more_kinds: Collection[str]) -> list[Finding]:
    findings: list[Finding] = []
    seen: set[tuple[str, int | None, int | None]] = set()
    used: set[tuple[str, int, int]] = set()
    for _ in range(_MAX_ROUNDS):
        try:
            read_playbook(root, more_kinds=more_kinds)
        except PlaybookError as error:
            fresh = [
                problem
                for problem in error.problems
                if (problem.message, problem.line, problem.column) not in seen
            ]
            seen |= {(problem.message, problem.line, problem.column) for problem in fresh}
            rule = "shape" if error.status == 400 else "rule"
            findings += [_finding(problem, rule, root, used, guess) for problem in fresh]
            if not fresh or not isinstance(root, MapNode):
                break
            # Everything is tried: one part that can't be masked must not keep the others.
            masked = [mask(root, problem) for problem in error.problems]
            if not any(masked):
                break  # the last stage, which tells everything at once
        else:
            break
    return findings


def _finding(
    problem: Problem,
    rule: str,
    root: Node,
    used: set[tuple[str, int, int]],
    guess: Guesser,
) -> Finding:
    message = _PLACE.sub("", problem.message)
    line, column = place_of(problem, root, used)
    used.add((message, line, column))
    return Finding(
        severity=Severity.ERROR,
        rule=rule,
        message=message,
        line=line,
        column=column,
        path=problem.path,
        hint=_hint(problem, message, root, guess),
    )


def _hint(problem: Problem, message: str, root: Node, guess: Guesser) -> str | None:
    hint = problem.hint
    unknown = _UNKNOWN_KIND.search(hint or "")
    if unknown is not None:
        return f"{hint}{guess(unknown[1], TOOL_KINDS)}"
    if not isinstance(root, MapNode):
        return hint
    unknown = _UNKNOWN_STEP.search(message)
    if unknown is not None:
        return guess(unknown[1], _names(root, "workflow", "step")).removeprefix(", ") or hint
    unknown = _UNKNOWN_ACTION.search(message)
    if unknown is not None:
        return guess(unknown[1], _names(root, "workbook", "name")).removeprefix(", ") or hint
    return hint


def _names(root: MapNode, block: str, key: str) -> list[str]:
    names = (text_of(item, key) for item in items_of(root.entries.get(block))[:_MAX_NAMES])
    return [name for name in names if name is not None]
