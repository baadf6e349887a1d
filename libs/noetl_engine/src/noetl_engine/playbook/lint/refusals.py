"""Turn the parser's errors into findings of the linter, with advice."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from noetl_contract.tools import TOOL_KINDS

from noetl_engine.playbook.lint.finding import Finding, Severity, finding_at
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.parts import below, items_of, text_of
from noetl_engine.playbook.lint.source import Source
from noetl_engine.playbook.problem import Code, Problem
from noetl_engine.playbook.yaml import Node

PARSER_RULES: Final = frozenset({"yaml", "shape", "rule"})
_RULES: Final = {Code.YAML: "yaml", Code.IGNORED: "inert"}
_MAX_NAMES: Final = 300


def refusal_findings(
    problems: Iterable[Problem], root: Node | None, source: Source, guess: Guesser
) -> Iterator[Finding]:
    """Yield a finding for each problem, with advice where something similar is known."""
    for problem in problems:
        line, code = problem.line or 1, problem.code
        yield finding_at(
            (line, problem.column or 1),
            problem.path,
            _RULES.get(code) or ("shape" if code.is_undecodable else "rule"),
            problem.text,
            severity=Severity.WARNING if code is Code.IGNORED else Severity.ERROR,
            hint=source.advice(line) if code is Code.YAML else _hint(problem, root, guess),
        )


def _hint(problem: Problem, root: Node | None, guess: Guesser) -> str | None:
    """Return the parser's hint, with the similar word that may have been meant."""
    known = _KNOWN.get(problem.code)
    if known is None or problem.word is None:
        return problem.hint
    advice = guess(problem.word, known(root))
    return f"{problem.hint}{advice}" if problem.hint else advice.removeprefix(", ") or None


def _names(root: Node | None, block: str, key: str) -> list[str]:
    names = (text_of(item, key) for item in items_of(below(root, block))[:_MAX_NAMES])
    return [name for name in names if name is not None]


_KNOWN: Final[dict[Code, Callable[[Node | None], Collection[str]]]] = {
    Code.UNKNOWN_KIND: lambda _: TOOL_KINDS,
    Code.UNKNOWN_STEP: lambda root: _names(root, "workflow", "step"),
    Code.UNKNOWN_TASK: lambda root: _names(root, "workbook", "name"),
}
