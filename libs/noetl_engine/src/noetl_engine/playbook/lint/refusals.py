"""Turn the parser's errors into findings of the linter, with advice."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from noetl_contract.tools import TOOL_KINDS

from noetl_engine.playbook.lint.finding import Finding, Severity
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.parts import items_of, text_of
from noetl_engine.playbook.lint.source import Source
from noetl_engine.playbook.problem import Code, Problem
from noetl_engine.playbook.yaml import MapNode, Node

PARSER_RULES: Final = frozenset({"yaml", "shape", "rule"})
_MAX_NAMES: Final = 300


def refusal_findings(
    problems: Iterable[Problem], root: Node | None, source: Source, guess: Guesser
) -> Iterator[Finding]:
    """Yield a finding for each problem, with advice where something similar is known."""
    for problem in problems:
        line = problem.line or 1
        yield Finding(
            severity=Severity.ERROR,
            rule=_rule(problem.code),
            message=problem.text,
            line=line,
            column=problem.column or 1,
            path=problem.path,
            hint=source.advice(line) if problem.code is Code.YAML else _hint(problem, root, guess),
        )


def _rule(code: Code) -> str:
    if code is Code.YAML:
        return "yaml"
    return "shape" if code.is_undecodable else "rule"


def _hint(problem: Problem, root: Node | None, guess: Guesser) -> str | None:
    """Return the parser's hint, with the similar word that may have been meant."""
    known = _KNOWN.get(problem.code)
    if known is None or problem.word is None:
        return problem.hint
    advice = guess(problem.word, known(root))
    return f"{problem.hint}{advice}" if problem.hint else advice.removeprefix(", ") or None


def _names(root: Node | None, block: str, key: str) -> list[str]:
    items = items_of(root.entries.get(block)) if isinstance(root, MapNode) else []
    names = (text_of(item, key) for item in items[:_MAX_NAMES])
    return [name for name in names if name is not None]


_KNOWN: Final[dict[Code, Callable[[Node | None], Collection[str]]]] = {
    Code.UNKNOWN_KIND: lambda _: TOOL_KINDS,
    Code.UNKNOWN_STEP: lambda root: _names(root, "workflow", "step"),
    Code.UNKNOWN_TASK: lambda root: _names(root, "workbook", "name"),
}
