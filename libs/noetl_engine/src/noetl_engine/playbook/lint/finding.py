"""What the linter has to say about one place of a playbook."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is. Only an error means that the playbook can't run as written."""

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
