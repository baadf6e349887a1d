"""Jinja's lexer with the string escapes and line ends of the reference server."""

import re
from collections.abc import Iterator
from typing import Final, override

from jinja2.lexer import Lexer

# Replaces a carriage return outside of tags, which Jinja would convert to a line feed.
_RETURN: Final = "\ufdd0"
_OPENING: Final = re.compile(r"\{[{%#]")
_CLOSING: Final = {"{{": "}}", "{%": "%}", "{#": "#}"}
_ESCAPE: Final = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))", re.DOTALL
)
_SIMPLE: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SELF_ESCAPED: Final = frozenset("\\\"'/")


class ReferenceLexer(Lexer):
    """Tokenises string escapes and line ends like the reference server."""

    @override
    def _normalize_newlines(self, value: str) -> str:
        return value.replace(_RETURN, "\r")

    @override
    def tokeniter(
        self,
        source: str,
        name: str | None,
        filename: str | None = None,
        state: str | None = None,
    ) -> Iterator[tuple[int, str, str]]:
        if "\r" in source:
            source = _protect_returns(source)
        for line, token, text in super().tokeniter(source, name, filename, state):
            if token == "string":  # noqa: S105 - a token name, not a password
                # Jinja decodes Python escapes next, so the text is encoded with them.
                encoded = unescape(text[1:-1]).encode("unicode_escape").decode("ascii")
                yield line, token, f'"{encoded}"'
            else:
                yield line, token, text


def unescape(text: str) -> str:
    """Decode the escapes of a string literal; unknown escapes are kept."""
    if "\\" not in text:
        return text
    decoded = _ESCAPE.sub(_decode, text)
    # Two escapes may be the surrogates of one character.
    return decoded.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _decode(match: re.Match[str]) -> str:
    four, two, octal, other = match.groups()
    if other is None:
        return chr(int(four or two, 16)) if four or two else chr(int(octal, 8) & 0xFF)
    if other in _SELF_ESCAPED:
        return other
    return _SIMPLE.get(other, "\\" + other)


def _protect_returns(source: str) -> str:
    if source.endswith("\r\n"):  # Jinja drops only a line feed at the end
        source = source[:-2] + "\n"
    parts = []
    at = 0
    for start, end in _tags(source):
        parts += [source[at:start].replace("\r", _RETURN), source[start:end]]
        at = end
    parts.append(source[at:].replace("\r", _RETURN))
    return "".join(parts)


def _tags(source: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each tag and comment."""
    unclosed: set[str] = set()
    at = 0
    while opening := _OPENING.search(source, at):
        start, closing = opening.start(), _CLOSING[opening.group()]
        # If no closing tag was found once, there is none after this position either.
        end = -1 if closing in unclosed else source.find(closing, start + 2)
        if end < 0:
            unclosed.add(closing)
            at = start + 1
        else:
            at = end + 2
            yield start, at
