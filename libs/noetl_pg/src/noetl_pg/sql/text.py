"""SQL text: its tokens, its statements, and the parameters in it.

Quotes, dollar quotes and comments end where PostgreSQL ends them; DuckDB reads them alike.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal

type TokenKind = Literal["space", "word", "text", "parameter", "other"]
type Token = tuple[TokenKind, int, int]
"""Kind, start and end. A comment is ``space``; quoted things are ``text``."""

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n\r]*[\n\r]?)
    | (?P<word>[\w\u0080-\uffff][\w$\u0080-\uffff]*)  # a number, too: a `$` inside belongs to it
    | (?P<text>'[^']*'?|"[^"]*"?)  # a doubled quote ends one text and begins the next
    | (?P<parameter>\$\d+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
# As many tokens as possible that are neither quotes nor comments.
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

_DEPTH = {"(": 1, ")": -1}
_KINDS: dict[str | None, TokenKind] = {
    "space": "space",
    "word": "word",
    "text": "text",
    "parameter": "parameter",
    "other": "other",
}


def is_row_query(statement: str) -> bool:
    """Return whether a statement's rows are its result: only its first word counts."""
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


def numbered[Value](text: str, values: Mapping[str, Value]) -> tuple[str, list[Value]]:
    """Return a text with placeholders by number for those by name (``$name``), and their values.

    Raises:
        KeyError: A placeholder has no value.
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
    """Return the pieces of a text in order, and whether each is code.

    The other pieces are quoted texts and comments.
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
    """Return all tokens in order; together they are the whole text."""
    position = start
    while found := _TOKEN.match(text, position):
        kind, end = _KINDS[found.lastgroup], found.end()
        # The rest of the text decides how far these go.
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
    """Find the end of a text with backslashes; ``E'…'`` is the one prefix that allows them."""
    found = _ESCAPED.match(text, at)
    return len(text) if found is None else found.end()


def _comment_end(text: str, at: int) -> int:
    """Find the end of a comment in a block; these nest."""
    depth = 0
    for found in _COMMENT_EDGE.finditer(text, at):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return len(text)
