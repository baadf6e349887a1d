"""Limits of size are questions, and a comment ``# size: why`` is an answer that is let pass.

It stands where it belongs: inside a function, at the margin of a module, in the ``__init__.py`` of
a folder.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

FEWEST_WORDS = 4

_MODULE_REASON = re.compile(r"^# size:(.*(?:\n#(?! size:).*)*)", re.MULTILINE)
_FUNCTION_REASON = re.compile(r"^ +# size:(.*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Question:
    """A limit that something is beyond, or an answer that nobody has asked for.

    Attributes:
        text: what it is, and how large.
        is_answered: whether a reason lets it pass.
    """

    text: str
    is_answered: bool


def module_reason(text: str) -> str | None:
    """Return the reason for the size of a module, or of the folder whose ``__init__.py`` it is."""
    found = _MODULE_REASON.search(text)
    return " ".join(found[1].replace("#", " ").split()) if found else None


def function_reason(text: str) -> str | None:
    """Return the reason for the length of a function."""
    found = _FUNCTION_REASON.search(text)
    return found[1].strip() if found else None


def asked(
    place: str, size: str, limit: str, reason: str | None, *, is_beyond: bool
) -> Iterator[Question]:
    """Yield the question about one thing, if there is one.

    Args:
        place: what it is and where.
        size: its size, in words.
        limit: the limit, in words.
        reason: what is said about that; None if nothing.
        is_beyond: whether the limit asks.
    """
    told = f"{place}: {size}, {limit}"
    if not is_beyond:
        if reason is not None:
            yield Question(f"{place}: {size} need no `# size: {reason}`", is_answered=False)
    elif reason is None:
        text = f"{told}: change that, or say why not in a comment `# size: …`"
        yield Question(text, is_answered=False)
    elif len(reason.split()) < FEWEST_WORDS:
        text = f"{told}, and `# size: {reason}` doesn't say why in {FEWEST_WORDS} words or more"
        yield Question(text, is_answered=False)
    else:
        yield Question(f"{told}, but: {reason}", is_answered=True)


def unanswered(questions: Iterable[Question]) -> Iterator[str]:
    """Yield what nobody gives a reason for."""
    return (question.text for question in questions if not question.is_answered)


def answered(questions: Iterable[Question]) -> Iterator[str]:
    """Yield what a reason lets pass."""
    return (question.text for question in questions if question.is_answered)
