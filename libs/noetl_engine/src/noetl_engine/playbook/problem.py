"""Problems of a playbook text: their class, sentence and place."""

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final


class Code(StrEnum):
    """Class of a problem."""

    YAML = "yaml"
    CASE = "case"
    SHAPE = "shape"
    UNKNOWN_KIND = "unknown-kind"
    NEXT = "next"
    UNKNOWN_TASK = "unknown-task"
    RULE = "rule"
    UNKNOWN_STEP = "unknown-step"
    IGNORED = "ignored"

    @property
    def is_undecodable(self) -> bool:
        """Whether the text has the wrong shape, as opposed to breaking a rule."""
        return self in _UNDECODABLE


_UNDECODABLE: Final = frozenset({Code.YAML, Code.SHAPE, Code.UNKNOWN_KIND, Code.NEXT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something the author should know, with its place in the text.

    Attributes:
        code: Its class.
        text: One sentence without the place.
        place: The place as the contract's message ends with it, empty when that has none.
        line: One-based line of the value that is wrong, ``None`` when unknown.
        column: One-based column of that value, ``None`` when unknown.
        path: Dotted path in the document, for example ``workflow[2].tool``.
        hint: The exact reason, where the contract's message is too general.
        word: The word that is not known, where that is the problem.
    """

    code: Code
    text: str
    place: str = ""
    line: int | None = None
    column: int | None = None
    path: str = ""
    hint: str | None = None
    word: str | None = None

    @property
    def message(self) -> str:
        """The exact text of the contract."""
        return f"{self.text}{self.place}"

    @property
    def status(self) -> HTTPStatus:
        """HTTP status of a refusal for this problem."""
        if self.code.is_undecodable:
            return HTTPStatus.BAD_REQUEST
        return HTTPStatus.UNPROCESSABLE_ENTITY


def problem_at(
    text: str, *, line: int | None, column: int | None, path: str, code: Code = Code.SHAPE
) -> Problem:
    """Return a problem with path and place written out as the original server does."""
    return Problem(
        code=code,
        text=f"{path}: {text}" if path else text,
        place="" if line is None else f" at line {line} column {column}",
        line=line,
        column=column,
        path=path,
    )
