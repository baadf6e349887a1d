"""Statements of a script and the placeholders in them, as Snowflake reads them.

Unlike PostgreSQL it knows backslashes in texts, comments behind ``//``, and no tags of dollar
quotes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from noetl_contract.json import Json

type Kind = Literal["space", "word", "text", "mark", "other"]

_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+ | --[^\n\r]* | //[^\n\r]* | /\*.*?(?:\*/|\Z))
    | (?P<text>'(?:[^'\\]|\\.|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | \$\$.*?(?:\$\$|\Z))
    | (?P<mark>\?|\$[A-Za-z0-9_]+)
    | (?P<word>[\w\u0080-\uffff][\w$\u0080-\uffff]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_KINDS: Final[dict[str | None, Kind]] = {
    "space": "space", "word": "word", "text": "text", "mark": "mark", "other": "other",
}  # fmt: skip
# Statements that end a transaction, those that do so by themselves included.
_ENDS: Final = frozenset(
    {"COMMIT", "ROLLBACK", "CREATE", "ALTER", "DROP", "UNDROP", "TRUNCATE", "GRANT", "REVOKE"}
)
_WITH_ROWS: Final = frozenset(
    {
        "SELECT", "WITH", "SHOW", "DESC", "DESCRIBE", "CALL", "VALUES", "LIST", "LS", "EXPLAIN",
        "TABLE", "EXECUTE", "DECLARE", "BEGIN", "COPY", "REMOVE", "RM", "(",
    }
)  # fmt: skip
_LETTERS: Final = re.compile(r"[^A-Za-z]")
_TRANSACTION: Final = frozenset({"", "TRANSACTION", "WORK", "NAME"})


def statements_of(text: str) -> list[str]:
    """Return the statements of a script, without those that hold nothing or comments alone.

    A semicolon ends a statement outside of quotes, comments and parentheses. A block of Snowflake
    Scripting (``DECLARE …``, ``BEGIN … END``) is one statement with all that follows it.
    """
    found: list[str] = []
    start, depth, is_empty = 0, 0, True
    for kind, begin, end in _tokens(text):
        if is_empty and kind == "word" and _is_block(text[begin:]):
            found.append(text[start:].strip())
            return found
        if kind == "other":
            depth = max(0, depth + {"(": 1, ")": -1}.get(text[begin], 0))
            if text[begin] == ";" and depth == 0:
                if not is_empty:
                    found.append(text[start:begin].strip())
                start, is_empty = end, True
                continue
        is_empty = is_empty and kind == "space"
    if not is_empty:
        found.append(text[start:].strip())
    return found


def uses_files(statement: str) -> bool:
    """Return whether a statement would read or write files of the machine that sends it."""
    first = next(_words(statement), "")
    return _LETTERS.sub("", first).upper() in {"PUT", "GET"}


def has_rows(statement: str) -> bool:
    """Return whether the result of a statement is its rows, and not how many rows it changed."""
    first, second = _first_words(statement)
    if first in {"BEGIN", "START"}:
        return second not in _TRANSACTION
    return first in _WITH_ROWS


def leaves_open(statements: Sequence[str]) -> bool:
    """Return whether a script begins a transaction and doesn't end it."""
    is_open = False
    for statement in statements:
        first, second = _first_words(statement)
        if first in {"BEGIN", "START"} and second in _TRANSACTION:
            is_open = True
        elif first in _ENDS:
            is_open = False
    return is_open


def bound(text: str, params: Sequence[Json] | Mapping[str, Json]) -> tuple[str, list[Json]]:
    """Return a statement with `?` for its placeholders, and the values in their order.

    With a list they are `?` or `$1`, `$2`, …; with a mapping `$name`. Other words behind a `$` are
    variables of the session, which Snowflake reads itself.

    Raises:
        LookupError: a placeholder has no value; its text names the placeholder.
        ValueError: the list has more values than placeholders.
    """
    parts: list[str] = []
    values: list[Json] = []
    position, marks, given = 0, 0, 0
    for kind, begin, end in _tokens(text):
        if kind != "mark":
            continue
        name = text[begin + 1 : end]
        if isinstance(params, Mapping):
            if name not in params:
                continue
            values.append(params[name])
        else:
            if name and not name.isdecimal():
                continue
            marks += not name
            number = int(name) if name else marks
            given = max(given, number)
            if not 1 <= number <= len(params):
                raise LookupError(text[begin:end])
            values.append(params[number - 1])
        parts += [text[position:begin], "?"]
        position = end
    if not isinstance(params, Mapping) and given < len(params):
        raise ValueError(f"{len(params)} values for {given} placeholders")
    return "".join([*parts, text[position:]]), values


def _is_block(text: str) -> bool:
    first, second = _first_words(text)
    return first == "DECLARE" or (first == "BEGIN" and second not in _TRANSACTION)


def _first_words(text: str) -> tuple[str, str]:
    """Return the first two words in capitals; anything else ends the search."""
    words: list[str] = []
    for kind, begin, end in _tokens(text):
        if kind == "space":
            continue
        if kind != "word":
            if not words and text[begin] == "(":
                return "(", ""
            break
        words.append(text[begin:end].upper())
        if len(words) == 2:
            break
    return (*words, "", "")[0], (*words, "", "")[1]


def _words(text: str) -> Iterator[str]:
    for kind, begin, end in _tokens(text):
        if kind == "word":
            yield text[begin:end]


def _tokens(text: str) -> Iterator[tuple[Kind, int, int]]:
    for found in _TOKEN.finditer(text):
        yield _KINDS[found.lastgroup], found.start(), found.end()
