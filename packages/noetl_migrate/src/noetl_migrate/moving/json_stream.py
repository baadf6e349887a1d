"""Elements of one list in a JSON answer, without holding the whole of it."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Final

from noetl.stack.errors import StackError
from noetl_contract.json import Json

_DECODER: Final = json.JSONDecoder()
_BLANK: Final = " \t\r\n"
_LARGEST = 64 << 20
_SHORT = 1 << 16


async def elements(pieces: AsyncIterator[str], key: str) -> AsyncIterator[Json]:
    """Return the elements of the list below a key of the answer's object, or of a bare list.

    At most one element is held, and that of 64 Mi characters at most.

    Raises:
        StackError: the answer is no such thing, or an element is larger.
    """
    reading = _Reading(key)
    async for piece in pieces:
        for value in reading.more(piece):
            yield value
        if reading.is_over:
            return
    for value in reading.rest():
        yield value


class _Reading:
    """The part of the answer that has come, from the element on that is not whole yet."""

    def __init__(self, key: str) -> None:
        self.is_over = False
        self._key = key
        self._text = ""
        self._has_begun = False
        # A long element is tried again only when there is twice as much of it.
        self._wanted = 0

    def more(self, piece: str) -> Iterator[Json]:
        """Take a piece and return the elements that are whole with it."""
        self._text += piece
        if not self._has_begun:
            self._begin()
        if self._has_begun and len(self._text) >= self._wanted:
            yield from self._whole(is_all=False)
            self._wanted = 2 * len(self._text) if len(self._text) > _SHORT else 0
        if len(self._text) > _LARGEST:
            raise StackError(f"an entry of the answer has more than {_LARGEST} characters")

    def rest(self) -> Iterator[Json]:
        """Return the elements left at the end of the answer."""
        if not self._has_begun:
            raise StackError(f"the answer has no list `{self._key}`")
        yield from self._whole(is_all=True)
        if not self.is_over:
            raise StackError("the answer ends in the middle of its list")

    def _begin(self) -> None:
        if self._text.lstrip(_BLANK).startswith("["):
            opening = self._text.index("[")
        else:
            found = self._text.find(f'"{self._key}"')
            opening = -1 if found < 0 else self._text.find("[", found)
        if opening >= 0:
            self._text = self._text[opening + 1 :]
            self._has_begun = True

    def _whole(self, *, is_all: bool) -> Iterator[Json]:
        text, at = self._text, 0
        while not self.is_over:
            at = _skip(text, at)
            if text[at : at + 1] == "]":
                self.is_over = True
                break
            try:
                value, end = _DECODER.raw_decode(text, at)
            except ValueError:
                break
            if end >= len(text) and not is_all:
                break  # a number may go on
            yield value
            at = end
        self._text = text[at:]


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n,":
        at += 1
    return at
