"""Everything that is wrong, doubtful or without effect in a playbook, with its place.

Pure and total: any text gives a list of findings, in document order.
"""

from collections.abc import Collection
from typing import Final

from noetl_engine.playbook.lint_errors import PARSER_RULES, read_leniently
from noetl_engine.playbook.lint_finding import Finding, Severity
from noetl_engine.playbook.lint_flow import (
    flow_findings,
    reachability_findings,
    workbook_findings,
)
from noetl_engine.playbook.lint_guess import Guesser
from noetl_engine.playbook.lint_keys import key_findings
from noetl_engine.playbook.lint_names import names_of
from noetl_engine.playbook.lint_source import Source
from noetl_engine.playbook.lint_templates import template_findings
from noetl_engine.playbook.lint_texts import Text, texts_of
from noetl_engine.playbook.yaml_dialect import MapNode, YamlLimits

__all__ = ["MAX_FINDINGS", "MAX_TEXTS", "PARSER_RULES", "Finding", "Severity", "lint"]

MAX_FINDINGS: Final = 1000
MAX_TEXTS: Final = 10_000
_GRAVITY: Final = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def lint(
    text: str, *, limits: YamlLimits | None = None, more_kinds: Collection[str] = ()
) -> list[Finding]:
    """Check a playbook; ``more_kinds`` of tools are known beside ours.

    The parser accepts the text exactly when no finding is an error of ``PARSER_RULES``. Other
    errors name what the parser accepts and no execution survives.

    Returns:
        At most ``MAX_FINDINGS`` findings by line and column, errors kept first where there are
        more.
    """
    source = Source(text)
    guess = Guesser()
    findings, root = read_leniently(text, source, guess, limits=limits, more_kinds=more_kinds)
    if root is not None:
        findings += _looks(root, source, guess, findings)
    kept = sorted(findings, key=lambda found: _GRAVITY[found.severity])[:MAX_FINDINGS]
    return sorted(kept, key=lambda found: (found.line, found.column, _GRAVITY[found.severity]))


def _looks(root: MapNode, source: Source, guess: Guesser, refused: list[Finding]) -> list[Finding]:
    findings = [*key_findings(root, guess), *flow_findings(root), *workbook_findings(root)]
    # What was refused may be the arc that leads to a step.
    if not any(" next" in found.message or "NextSpec" in found.message for found in refused):
        findings += reachability_findings(root)
    names = names_of(root)
    for number, text in enumerate(texts_of(root)):
        if number == MAX_TEXTS:
            findings.append(_unread(text))
            break
        findings += template_findings(text, names, source, guess)
    return findings


def _unread(text: Text) -> Finding:
    return Finding(
        severity=Severity.INFO,
        rule="limit",
        message=f"only the first {MAX_TEXTS} texts were looked at",
        line=text.node.line,
        column=text.node.column,
        path=text.path,
    )
