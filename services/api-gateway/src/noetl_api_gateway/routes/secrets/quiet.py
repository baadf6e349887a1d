"""Refusals of bodies that hold secrets: they name the field, never what was in it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from noetl_api_gateway.http.refusals import Refusal

# As `fields` describes a text, which may hold quotes of its own.
_TEXT = re.compile(r'(?<=string )".*"(?=, expected )|(?<=characters: )".*"$', re.DOTALL)
_MASK = '"[REDACTED]"'


@contextmanager
def without_values() -> Iterator[None]:
    """Mask texts of the client in refusals that are raised inside.

    Raises:
        Refusal: the same, with no text of the client in it.
    """
    try:
        yield
    except Refusal as error:
        text = _TEXT.sub(_MASK, error.text)
        if text == error.text:
            raise
        raise Refusal(error.status, text, headers=error.headers) from None
