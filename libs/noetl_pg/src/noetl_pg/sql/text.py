"""Tokens, statements, parameters and LIKE patterns of SQL text.

Quotes, dollar quotes and comments follow the rules of PostgreSQL, which DuckDB shares.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

type TokenKind = Literal["space", "word", "text", "parameter", "other"]
type Token = tuple[TokenKind, int, int]
"""Kind, start and end of a token. Comments are ``space``; quoted texts and names are ``text``."""

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n\r]*[\n\r]?)
    | (?P<word>[\w\u0080-\uffff][\w$\u0080-\uffff]*)  # numbers too; may contain `$`
    | (?P<text>'[^']*'?|"[^"]*"?)  # a doubled quote ends one text and begins the next
    | (?P<parameter>\$\d+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
# The longest sequence of tokens that are neither quotes nor comments.
_CODE = re.compile(
    r"""
    (?:
        (?![eE]')[\w\u0080-\uffff][\w$\u0080-\uffff]*
        | [^\w\u0080-\uffff'"$/-]+
        | \$\d+
        | \$(?!(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$)
        | -(?!-) | /(?!\*)
    )++
    """,
    re.VERBOSE,
)
_DOLLAR_TAG = re.compile(r"\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$")
_ESCAPED = re.compile(r"'(?:[^'\\]|\\.|'')*'", re.DOTALL)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_ROUTINE = re.compile(r"CREATE(?:\s+OR\s+REPLACE)?\s+(?:FUNCTION|PROCEDURE)\b", re.IGNORECASE)
_ROWS = re.compile(r"\s*(?:SELECT|WITH)", re.IGNORECASE)

_WILD = re.compile(r"[\\%_]")

_DEPTH = {"(": 1, ")": -1}
_KINDS: dict[str | None, TokenKind] = {
    "space": "space",
    "word": "word",
    "text": "text",
    "parameter": "parameter",
    "other": "other",
}


def is_row_query(statement: str) -> bool:
    """Return whether a statement returns rows, judged by its first word."""
    return _ROWS.match(statement) is not None


def needs_input(statement: str) -> bool:
    """Return whether a statement would wait for data from its client (``COPY … FROM STDIN``)."""
    if "stdin" not in statement.lower():
        return False
    words = [
        statement[begin:end].upper() for kind, begin, end in tokens(statement) if kind == "word"
    ]
    return bool(words) and words[0] == "COPY" and "STDIN" in words


def split_statements(text: str) -> list[str]:
    """Return the statements of a script, except empty ones and ones of comments only.

    A semicolon ends a statement, except in quotes, dollar quotes, comments, parentheses and the
    body of a routine in SQL (``BEGIN ATOMIC … END``).
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
                    # The line break at the end is kept, because it may end a comment.
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


def numbered[Value](text: str, values: Mapping[str, Value]) -> tuple[str, list[Value]]:
    """Replace placeholders by name (``$name``) with numbered ones; return the text and the values.

    Raises:
        KeyError: a placeholder has no value.
    """
    order: dict[str, int] = {}
    parts: list[str] = []
    position = 0
    for name, begin, end in _named_placeholders(text):
        if name not in values:
            raise KeyError(name)
        parts += [text[position:begin], f"${order.setdefault(name, len(order) + 1)}"]
        position = end
    return "".join([*parts, text[position:]]), [values[name] for name in order]


def _named_placeholders(text: str) -> Iterator[tuple[str, int, int]]:
    mark: int | None = None
    for kind, begin, end in tokens(text):
        if kind == "parameter":
            yield text[begin + 1 : end], begin, end
        elif kind == "word" and mark == begin:
            yield text[begin:end], begin - 1, end
        mark = end if kind == "other" and text[begin] == "$" else None


def code_and_quotes(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the pieces of a text in order, each with whether it is code.

    Pieces that are not code are quoted texts and comments.
    """
    position = 0
    while position < len(text):
        code = _CODE.match(text, position)
        end = next(tokens(text, start=position))[2] if code is None else code.end()
        yield code is not None, text[position:end]
        position = end


def _blocks_after(word: str, blocks: int) -> int:
    if word == "BEGIN" or (word == "CASE" and blocks):
        return blocks + 1
    return blocks - 1 if word == "END" and blocks else blocks


def tokens(text: str, *, start: int = 0) -> Iterator[Token]:
    """Yield all tokens in order, without gaps."""
    position = start
    while found := _TOKEN.match(text, position):
        kind, end = _KINDS[found.lastgroup], found.end()
        # For these tokens, the expression finds only the beginning.
        match text[position]:
            case "e" | "E" if end == position + 1 and text.startswith("'", end):
                kind, end = "text", _escaped_end(text, end)
            case "/" if text.startswith("*", end):
                kind, end = "space", _comment_end(text, position)
            case "$" if tag := _DOLLAR_TAG.match(text, position):
                kind, end = "text", _end_behind(text, tag[0], tag.end())
        yield kind, position, end
        position = end


def _end_behind(text: str, mark: str, at: int) -> int:
    end = text.find(mark, at)
    return len(text) if end < 0 else end + len(mark)


def _escaped_end(text: str, at: int) -> int:
    """Return the end of a text ``E'…'``, the only kind of text with backslash escapes."""
    found = _ESCAPED.match(text, at)
    return len(text) if found is None else found.end()


def _comment_end(text: str, at: int) -> int:
    """Return the end of a block comment; block comments nest."""
    depth = 0
    for found in _COMMENT_EDGE.finditer(text, at):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return len(text)


def patterns_below(stems: Iterable[str]) -> list[str]:
    """Return LIKE patterns for paths, with a slash appended, below one of the stems."""
    return [_WILD.sub(r"\\\g<0>", stem) + "/%" for stem in stems]
