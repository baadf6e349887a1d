"""Findings of the linter."""

from dataclasses import dataclass
from enum import StrEnum

from noetl_engine.playbook.yaml import MapNode, Node

UNION = "did not match any variant of untagged enum"
"""In the contract's message for any wrong tool or router, which says nothing about the reason."""


class Severity(StrEnum):
    """Severity of a finding. Only an error means that the playbook can't run as written."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.

    Attributes:
        severity: How bad it is.
        rule: Stable short name of what was checked, for example ``unknown-key``.
        message: One sentence. For what the parser refuses it is the parser's own message.
        line: One-based.
        column: One-based.
        path: Dotted path in the document, empty for the whole of it.
        hint: What exactly is wrong or what to write instead, when the message doesn't say it.
    """

    severity: Severity
    rule: str
    message: str
    line: int
    column: int
    path: str = ""
    hint: str | None = None

    @property
    def told(self) -> str:
        """The sentence for people: the hint first, the general message of a refusal after it."""
        if not self.hint:
            return self.message
        if UNION in self.message:
            return f"{self.hint} ({self.message})"
        return f"{self.message} ({self.hint})"

    @property
    def placed(self) -> str:
        """The sentence with its line, without a general message where the reason is known."""
        is_general = self.hint is not None and UNION in self.message
        return f"line {self.line}: {self.hint if is_general else self.told}"


def finding_at(
    place: Node | tuple[int, int],
    path: str,
    rule: str,
    message: str,
    *,
    severity: Severity = Severity.WARNING,
    hint: str | None = None,
) -> Finding:
    """Return a finding about a value, or about a line and column."""
    line, column = place if isinstance(place, tuple) else (place.line, place.column)
    return Finding(
        severity=severity,
        rule=rule,
        message=message,
        line=line,
        column=column,
        path=path,
        hint=hint,
    )


def finding_at_key(
    node: MapNode, key: str, path: str, rule: str, message: str, *, hint: str | None = None
) -> Finding:
    """Return a warning about a key of a mapping."""
    shown = key[:100]
    place = node.places.get(key, node)
    return finding_at(place, f"{path}.{shown}" if path else shown, rule, message, hint=hint)
