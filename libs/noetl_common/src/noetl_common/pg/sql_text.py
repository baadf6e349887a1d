"""SQL text: its tokens, its statements, and the parameters in it.

Quotes, dollar quotes and comments end where PostgreSQL ends them; DuckDB reads them alike.
"""

import re
from collections.abc import Iterator
from typing import Literal

__all__ = [
    "Token",
    "TokenKind",
    "code_and_quotes",
    "is_row_query",
    "needs_input",
    "placeholders",
    "split_statements",
    "tokens",
]

_DOLLAR_TAG = re.compile(r"\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$")
_SPACE = re.compile(r"\s+")
_LINE_END = re.compile(r"[\n\r]")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
# A number is a word, too: what matters is that a `$` inside belongs to it.
_WORD = re.compile(r"[\w\u0080-\uffff][\w$\u0080-\uffff]*")
_ESCAPED = re.compile(r"'(?:[^'\\]|\\.|'')*'", re.DOTALL)
_PARAMETER = re.compile(r"\$(\d+)")
_ROUTINE = re.compile(r"CREATE(?:\s+OR\s+REPLACE)?\s+(?:FUNCTION|PROCEDURE)\b", re.IGNORECASE)
_ROWS = re.compile(r"\s*(?:SELECT|WITH)", re.IGNORECASE)

_DEPTH = {"(": 1, ")": -1}

type TokenKind = Literal["space", "word", "text", "parameter", "other"]
type Token = tuple[TokenKind, int, int]
"""Kind, start and end. A comment is ``space``; quoted things are ``text``."""


def is_row_query(statement: str) -> bool:
    """Tell whether a statement's rows are its result: only its first word counts."""
    return _ROWS.match(statement) is not None


def needs_input(statement: str) -> bool:
    """Tell whether a statement would wait for data from its client (``COPY … FROM STDIN``)."""
    if "stdin" not in statement.lower():
        return False
    words = [
        statement[begin:end].upper() for kind, begin, end in tokens(statement) if kind == "word"
    ]
    return bool(words) and words[0] == "COPY" and "STDIN" in words


def split_statements(text: str) -> list[str]:
    """Return the statements of a script, without those that hold nothing or comments alone.

    A semicolon ends a statement outside of quotes, dollar quotes, comments and parentheses, and
    outside of the body of a routine that is written in SQL (``BEGIN ATOMIC … END``).
    """
    statements: list[str] = []
    start, depth, blocks = 0, 0, 0
    has_content = is_routine = False
    for kind, begin, end in tokens(text):
        if kind == "word":
            if not has_content:
                is_routine = _ROUTINE.match(text, begin) is not None
            if is_routine:
                blocks = _blocks_after(text[begin:end].upper(), blocks)
        elif kind == "other":
            depth = max(0, depth + _DEPTH.get(text[begin], 0))
            if text[begin] == ";" and depth == 0 and blocks == 0:
                if has_content:
                    # The line's end may end a comment, so it stays.
                    statements.append(text[start:begin].lstrip())
                start, has_content, is_routine = end, False, False
                continue
        has_content = has_content or kind != "space"
    if has_content:
        statements.append(text[start:].strip())
    return statements


def placeholders(text: str) -> Iterator[tuple[int, int, int]]:
    """Return number, start and end of each ``$n``, in order."""
    for kind, begin, end in tokens(text):
        if kind == "parameter":
            yield int(text[begin + 1 : end]), begin, end


def code_and_quotes(text: str) -> Iterator[tuple[bool, str]]:
    """Return the pieces of a text in order, and whether each is code.

    The other pieces are quoted texts and comments.
    """
    start, was_code = 0, True
    for kind, begin, _ in tokens(text):
        is_comment = kind == "space" and text[begin] in "-/"
        is_code = kind != "text" and not is_comment
        if is_code != was_code:
            if begin > start:
                yield was_code, text[start:begin]
            start, was_code = begin, is_code
    if start < len(text):
        yield was_code, text[start:]


def _blocks_after(word: str, blocks: int) -> int:
    if word == "BEGIN" or (word == "CASE" and blocks):
        return blocks + 1
    return blocks - 1 if word == "END" and blocks else blocks


def tokens(text: str) -> Iterator[Token]:
    """Return all tokens in order; together they are the whole text."""
    position, length = 0, len(text)
    while position < length:
        kind, end = _token(text, position)
        yield kind, position, end
        position = end


def _token(text: str, at: int) -> tuple[TokenKind, int]:
    character = text[at]
    if found := _SPACE.match(text, at):
        return "space", found.end()
    if text.startswith(("--", "/*"), at):
        return "space", _comment_end(text, at)
    if found := _WORD.match(text, at):
        # `E'…'` is the one prefix that changes how a quoted text ends.
        if found.group() not in {"e", "E"} or not text.startswith("'", found.end()):
            return "word", found.end()
        return "text", _quoted_end(text, found.end(), escapes=True)
    if character == "$":
        return _dollar(text, at)
    return (
        ("text", _quoted_end(text, at, escapes=False)) if character in "'\"" else ("other", at + 1)
    )


def _dollar(text: str, at: int) -> tuple[TokenKind, int]:
    if found := _DOLLAR_TAG.match(text, at):
        end = text.find(found.group(), found.end())
        return "text", len(text) if end < 0 else end + len(found.group())
    if found := _PARAMETER.match(text, at):
        return "parameter", found.end()
    return "other", at + 1


def _quoted_end(text: str, at: int, *, escapes: bool) -> int:
    # A doubled quote ends one quoted text and begins the next: the same for our purpose.
    if not escapes:
        end = text.find(text[at], at + 1)
        return len(text) if end < 0 else end + 1
    found = _ESCAPED.match(text, at)
    return len(text) if found is None else found.end()


def _comment_end(text: str, at: int) -> int:
    """Find the end of a comment; those in blocks nest."""
    if text.startswith("--", at):
        line = _LINE_END.search(text, at)
        return len(text) if line is None else line.end()
    depth = 0
    for found in _COMMENT_EDGE.finditer(text, at):
        depth += 1 if found.group() == "/*" else -1
        if depth == 0:
            return found.end()
    return len(text)
