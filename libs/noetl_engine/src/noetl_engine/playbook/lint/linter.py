"""Find everything that is wrong, doubtful or without effect in a playbook, with its place.

Pure and total: any text gives a list of findings, in document order.
"""

from collections.abc import Collection, Iterable
from typing import Final

from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.lint.finding import Finding, Severity, finding_at
from noetl_engine.playbook.lint.flow import (
    flow_findings,
    reachability_findings,
    workbook_findings,
)
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.keys import key_findings
from noetl_engine.playbook.lint.names import names_of
from noetl_engine.playbook.lint.parts import below
from noetl_engine.playbook.lint.refusals import refusal_findings
from noetl_engine.playbook.lint.source import Source
from noetl_engine.playbook.lint.templates import end_payload_findings, template_findings
from noetl_engine.playbook.lint.texts import Text, texts_of
from noetl_engine.playbook.lint.tools import tool_findings
from noetl_engine.playbook.parse import read_document
from noetl_engine.playbook.problem import Code, Problem
from noetl_engine.playbook.yaml import MapNode, Node, YamlLimits, compose

MAX_FINDINGS: Final = 1000
MAX_TEXTS: Final = 10_000
_GRAVITY: Final = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
# With these problems an arc is missing, perhaps the arc that leads to a step.
_ABOUT_ARCS: Final = frozenset({Code.NEXT, Code.UNKNOWN_STEP})


def lint(
    text: str, *, limits: YamlLimits | None = None, more_kinds: Collection[str] = ()
) -> list[Finding]:
    """Check a playbook; ``more_kinds`` of tools are known beside ours.

    The parser accepts the text exactly when no finding is an error of ``PARSER_RULES``. Other
    errors name mistakes that the parser accepts and no execution survives.

    Returns:
        At most ``MAX_FINDINGS`` findings by line and column, errors kept first where there are
        more.
    """
    source = Source(text)
    guess = Guesser()
    root, problems = _read(text, limits, more_kinds)
    findings = list(refusal_findings(problems, root, source, guess))
    if isinstance(root, MapNode):
        findings += _findings(root, source, guess, problems)
    # A part that an alias repeats is reported once.
    kept = sorted(dict.fromkeys(findings), key=lambda found: _GRAVITY[found.severity])
    return sorted(
        kept[:MAX_FINDINGS], key=lambda found: (found.line, found.column, _GRAVITY[found.severity])
    )


def _read(
    text: str, limits: YamlLimits | None, more_kinds: Collection[str]
) -> tuple[Node | None, list[Problem]]:
    """Return the document, nothing when there is none to look at, and the parser's problems."""
    problems: list[Problem] = []
    try:
        root = compose(text, limits=limits, skip=problems.append)
    except DecodeError as error:
        return None, [*problems, error.problem]
    return root, [*problems, *read_document(root, more_kinds=more_kinds).problems]


def _findings(
    root: MapNode, source: Source, guess: Guesser, problems: Iterable[Problem]
) -> list[Finding]:
    """Return the findings about a document that the parser has nothing to say to."""
    findings = [*key_findings(root, guess), *flow_findings(root), *workbook_findings(root)]
    findings += tool_findings(root, guess)
    if not any(problem.code in _ABOUT_ARCS for problem in problems):
        findings += reachability_findings(root)
    payload = below(root, "on_failure", "payload")
    findings += end_payload_findings(payload, "on_failure.payload", source)
    names = names_of(root)
    for number, text in enumerate(texts_of(root)):
        if number == MAX_TEXTS:
            findings.append(_unread(text))
            break
        findings += template_findings(text, names, source, guess)
    return findings


def _unread(text: Text) -> Finding:
    message = f"only the first {MAX_TEXTS} texts were looked at"
    return finding_at(text.node, text.path, "limit", message, severity=Severity.INFO)
