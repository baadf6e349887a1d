"""Errors of engine calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self


class EngineError(Exception):
    """Root of the engine's errors."""


class EvaluateError(EngineError):
    """A decision can't be made from this playbook and this state, however often it is tried.

    Attributes:
        text: what is wrong.
        step: the step that could not be decided about, if it was one's fault.
        part: the part of it, as ``loop.in``.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.step: str | None = None
        self.part = ""

    def at(self, step: str, part: str = "") -> Self:
        """Name the step and its part, unless they are named already."""
        if self.step is None:
            self.step, self.part = step, part
        return self

    @property
    def described(self) -> str:
        """The error's text, after the part of the document that is wrong."""
        return f"{self.part}: {self.text}" if self.part else self.text

    def __str__(self) -> str:
        """Return the text with its place."""
        if self.step is None:
            return self.text
        place = f"step '{self.step}'"
        return f"{place}, {self.described}" if self.part else f"{place}: {self.text}"


@contextmanager
def evaluating(step: str, part: str = "") -> Iterator[None]:
    """Name step and part in the evaluate errors of a block."""
    try:
        yield
    except EvaluateError as error:
        error.at(step, part)
        raise


class StartRefused(EngineError):
    """A start that is refused; nothing was written.

    Attributes:
        status: HTTP status of the answer.
        text: Its error text.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
