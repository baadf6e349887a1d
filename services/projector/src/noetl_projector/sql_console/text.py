"""Checks of a statement of the SQL route, and its placeholders."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from noetl_common.errors import Invalid
from noetl_contract.json import Json

_BLANK = re.compile(r"(?:\s|--[^\n\r]*|[(;])+")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_WORD = re.compile(r"[A-Za-z]+")
# One call is one transaction that we begin and end; COPY speaks a protocol of its own, and can
# start programs.
_OUR_BUSINESS = frozenset(
    {"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare"}
)
_TOKEN = re.compile(
    r"""
    [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
    | --[^\n]* | /\*.*?\*/
    | (?P<dollar>\$(?:[A-Za-z_]\w*)?\$).*?(?P=dollar)
    | (?P<native>\$\d+)
    | %\((?P<name>[^)]+)\)s | (?P<mark>%s)
    """,
    re.VERBOSE | re.DOTALL,
)


class StatementRefused(Invalid):
    """The statement or its parameters are not for this route."""

    template = "{reason}"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with PostgreSQL's own placeholders, and the values for them."""

    text: str
    parameters: tuple[Json, ...]


def read_statement(text: str, *, parameters: Json) -> Statement:
    """Check a statement and give its placeholders PostgreSQL's form.

    ``$1`` and ``%s`` take a list (or one scalar), ``%(name)s`` an object.

    Raises:
        StatementRefused: a command that is not for this route, or parameters that don't fit.
    """
    text = text.strip()
    _refuse_our_business(text)
    if parameters is None:
        return Statement(text, ())
    tokens = list(_TOKEN.finditer(text))
    is_native = any(token["native"] for token in tokens)
    is_foreign = any(token["mark"] or token["name"] for token in tokens)
    if isinstance(parameters, Mapping):
        if is_native or not is_foreign:
            if not parameters:
                return Statement(text, ())
            raise StatementRefused(reason="parameters by name need placeholders like %(name)s")
        return _named(text, parameters)
    values = tuple(parameters) if isinstance(parameters, list) else (parameters,)
    if is_native or not is_foreign:
        return Statement(text, values)
    return _marked(text, values)


def _refuse_our_business(text: str) -> None:
    word = _WORD.match(text, _first_word(text))
    command = word[0].lower() if word else ""
    if command in _OUR_BUSINESS:
        raise StatementRefused(
            reason=f"{command.upper()} is not possible here: each call is one transaction"
        )
    if command == "copy":
        raise StatementRefused(reason="COPY is not possible here")


def _first_word(text: str) -> int:
    """Return where the command begins, behind blanks and comments, which nest."""
    at, depth = 0, 0
    while True:
        if depth:
            edge = _COMMENT_EDGE.search(text, at)
            if edge is None:
                return len(text)
            depth += 1 if edge[0] == "/*" else -1
            at = edge.end()
        elif text.startswith("/*", at):
            depth, at = 1, at + 2
        elif blank := _BLANK.match(text, at):
            at = blank.end()
        else:
            return at


def _named(text: str, parameters: Mapping[str, Json]) -> Statement:
    names: dict[str, int] = {}

    def number(token: re.Match[str]) -> str:
        name = token["name"]
        if token["mark"]:
            raise StatementRefused(reason="placeholders like %s need a list of parameters")
        if name is None:
            return token[0].replace("%%", "%")
        if name not in parameters:
            raise StatementRefused(reason=f"there is no parameter called {name}")
        return f"${names.setdefault(name, len(names) + 1)}"

    numbered = _replaced(text, number)
    return Statement(numbered, tuple(parameters[name] for name in names))


def _marked(text: str, values: tuple[Json, ...]) -> Statement:
    count = 0

    def number(token: re.Match[str]) -> str:
        nonlocal count
        if token["name"]:
            raise StatementRefused(reason="placeholders like %(name)s need an object of parameters")
        if not token["mark"]:
            return token[0].replace("%%", "%")
        count += 1
        return f"${count}"

    return Statement(_replaced(text, number), values)


def _replaced(text: str, number: Callable[[re.Match[str]], str]) -> str:
    """Replace placeholders by numbers, and doubled percent signs by single ones."""
    made: list[str] = []
    end = 0
    for token in _TOKEN.finditer(text):
        made += [text[end : token.start()].replace("%%", "%"), number(token)]
        end = token.end()
    return "".join([*made, text[end:].replace("%%", "%")])
