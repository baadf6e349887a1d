"""Refuse forbidden statements of the SQL route; turn `:name` and `?` into `$n`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from noetl_common.errors import Invalid
from noetl_common.pg.sql_text import code_and_quotes, tokens
from noetl_contract.json import Json

# One call is one transaction that we begin and end; COPY speaks a protocol of its own, and can
# start programs.
_OUR_BUSINESS = frozenset(
    {"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare"}
)
# A `$` behind a letter, digit or `$` belongs to a name.
_NATIVE = re.compile(r"(?<![\w$])\$\d")
# A name has a bound and no parenthesis: each character is looked at once.
_MARK = re.compile(r"%\((?P<name>[^()]{1,128})\)s|%s")

_OPERATORS = frozenset("~!@#^&|`?+-*/%<>=")
_OPERATOR_LENGTH = 63
_COMMENTS = 500

type _Number = Callable[[str | None], str]
type _Pieces = Sequence[tuple[bool, str]]


class StatementRefused(Invalid):
    """The statement or its parameters are not for this route."""

    template = "{reason}"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with PostgreSQL's own placeholders, and the values for them."""

    text: str
    parameters: tuple[Json, ...]


def read_statement(text: str, *, parameters: Json, max_bytes: int) -> Statement:
    """Check a statement and give its placeholders PostgreSQL's form.

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
    _refuse_slow(text)
    _refuse_our_business(text)
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


def _refuse_slow(text: str) -> None:
    """Refuse what PostgreSQL's own scanner reads again and again.

    It looks at a whole run of operator characters at once, and takes one character or the start of
    one comment of it; nothing interrupts it.
    """
    comments = operator = 0
    for kind, begin, end in tokens(text):
        is_operator = kind == "other" and text[begin] in _OPERATORS
        operator = operator + 1 if is_operator else 0
        if kind == "space":
            comments += text.count("/*", begin, end)
        if operator > _OPERATOR_LENGTH or comments > _COMMENTS:
            raise StatementRefused(
                reason=f"The statement has an operator of more than {_OPERATOR_LENGTH} characters"
                if operator
                else f"The statement has more than {_COMMENTS} comments"
            )


def _refuse_our_business(text: str) -> None:
    command = _first_word(text).lower()
    if command in _OUR_BUSINESS:
        raise StatementRefused(
            reason=f"{command.upper()} is not possible here: each call is one transaction"
        )
    if command == "copy":
        raise StatementRefused(reason="COPY is not possible here")


def _first_word(text: str) -> str:
    """Return the command, which may stand behind empty statements and parentheses."""
    for kind, begin, end in tokens(text):
        if kind == "word":
            return text[begin:end]
        if kind != "space" and text[begin] not in "(;":
            break
    return ""


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
