"""Read statements of the SQL route; turn `%s` and `%(name)s` into `$n`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from noetl_contract.json import Json
from noetl_pg.sql.text import code_and_quotes

from noetl_projector.sql_console.allowed import StatementRefused, check_statement
from noetl_projector.sql_console.shown import shown_names

# A `$` behind a letter, digit or `$` belongs to a name.
_NATIVE = re.compile(r"(?<![\w$])\$\d")
# A name has a bound and no parenthesis: each character is looked at once.
_MARK = re.compile(r"%\((?P<name>[^()]{1,128})\)s|%s")

type _Number = Callable[[str | None], str]
type _Pieces = Sequence[tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with PostgreSQL's own placeholders, and the values for them."""

    text: str
    parameters: tuple[Json, ...]


def read_statement(
    text: str, *, parameters: Json, max_bytes: int, may_write: bool = False
) -> Statement:
    """Check a statement and convert its placeholders to PostgreSQL's.

    ``$1`` and ``%s`` take a list (or one scalar), ``%(name)s`` an object. Takes time in proportion
    to the text.

    Raises:
        StatementRefused: a text above ``max_bytes``, a command that is not for this route, or
            parameters that don't fit.
    """
    text = text.strip()
    size = len(text.encode(errors="surrogatepass"))
    if size > max_bytes:
        raise StatementRefused(
            reason=f"The statement has {size} bytes; NOETL_SQL_CONSOLE_STATEMENT_BYTES allows"
            f" {max_bytes}"
        )
    check_statement(text, may_write=may_write)
    if parameters is None:
        return Statement(text, ())
    pieces = list(code_and_quotes(text))
    is_native = any(is_code and _NATIVE.search(piece) for is_code, piece in pieces)
    is_foreign = any(is_code and _MARK.search(piece) for is_code, piece in pieces)
    if isinstance(parameters, Mapping):
        if is_native or not is_foreign:
            if not parameters:
                return Statement(text, ())
            raise StatementRefused(reason="parameters by name need placeholders like %(name)s")
        return _named(pieces, parameters)
    values = tuple(parameters) if isinstance(parameters, list) else (parameters,)
    if is_native or not is_foreign:
        return Statement(text, values)
    return _marked(pieces, values)


def shown_statement(statement: Statement) -> Statement:
    """Return a statement on the views that hide secrets in place of their tables."""
    return Statement(shown_names(statement.text), statement.parameters)


def _named(pieces: _Pieces, parameters: Mapping[str, Json]) -> Statement:
    names: dict[str, int] = {}

    def number(name: str | None) -> str:
        if name is None:
            raise StatementRefused(reason="placeholders like %s need a list of parameters")
        if name not in parameters:
            raise StatementRefused(reason=f"there is no parameter called {name}")
        return f"${names.setdefault(name, len(names) + 1)}"

    numbered = _replaced(pieces, number)
    return Statement(numbered, tuple(parameters[name] for name in names))


def _marked(pieces: _Pieces, values: tuple[Json, ...]) -> Statement:
    numbers = count(1)

    def number(name: str | None) -> str:
        if name is not None:
            raise StatementRefused(reason="placeholders like %(name)s need an object of parameters")
        return f"${next(numbers)}"

    return Statement(_replaced(pieces, number), values)


def _replaced(pieces: _Pieces, number: _Number) -> str:
    """Replace placeholders by numbers, and doubled percent signs by single ones."""
    made: list[str] = []
    for is_code, piece in pieces:
        end = 0
        for mark in _MARK.finditer(piece) if is_code else ():
            made += [piece[end : mark.start()].replace("%%", "%"), number(mark["name"])]
            end = mark.end()
        made.append(piece[end:].replace("%%", "%"))
    return "".join(made)
