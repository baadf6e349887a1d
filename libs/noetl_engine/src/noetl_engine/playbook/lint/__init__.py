"""The linter: checks of a playbook without running it."""

# size: each module looks for one sort of mistake, or is what several of them share

from noetl_engine.playbook.lint.finding import Finding, Severity
from noetl_engine.playbook.lint.linter import MAX_FINDINGS, MAX_TEXTS, lint
from noetl_engine.playbook.lint.refusals import PARSER_RULES

__all__ = ["MAX_FINDINGS", "MAX_TEXTS", "PARSER_RULES", "Finding", "Severity", "lint"]
