"""The nearest known word, for "Did you mean …"."""

import difflib
from collections.abc import Collection
from typing import Final

_MAX_GUESSES: Final = 200
_MAX_KNOWN: Final = 300
_MAX_WORD_CHARS: Final = 100


class Guesser:
    """Finds similar words; comparing is slow, so the number of guesses has a limit."""

    def __init__(self) -> None:
        self._left = _MAX_GUESSES

    def __call__(self, word: str, known: Collection[str]) -> str:
        """Return ``, did you mean '…'?`` when a known word is similar, else nothing."""
        if not self._left or len(known) > _MAX_KNOWN or len(word) > _MAX_WORD_CHARS:
            return ""
        self._left -= 1
        close = difflib.get_close_matches(word, sorted(known), n=1)
        return f", did you mean '{close[0]}'?" if close and close[0] != word else ""
