"""Named SQL statements in a file beside the store that uses them."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import Self

_USUAL_FILE = "queries.sql"
_HEAD = re.compile(r"^--\s*(name|list):\s*(\S+)\s*$")
# The FROM of the list itself is at the beginning of a line; a FROM within its columns is not.
_SELECT = re.compile(r"SELECT\s+(.+?)\s+^FROM\s", re.DOTALL | re.MULTILINE)
_EACH = re.compile(r"^--\s*each:\s*(\S+)\s+([a-z_]+)\s*=\s*(.+)$")
_WITHOUT = re.compile(r"^--\s*without:\s*(\S+)((?:\s+[a-z_]+)+)\s*$")
_PART = re.compile(r"^\s*--\s*part:\s*([a-z_]+)\s*$")
_PART_END = re.compile(r"^\s*--\s*end\s*$")
_PARAMETER = re.compile(r"\$(\d+)")
_PLACE = re.compile(r"(?<!')\{([a-z_]+)\}")


class Queries:
    """Statements by name.

    A statement starts with ``-- name: verb_object``. The comment lines right after the name are its
    description and are removed. The name is appended as a comment, so that views of the database
    show it.

    ``-- list: name`` starts a SELECT. In the statements of the file, ``{name}`` is replaced by its
    columns. The lists of ``lists.sql`` are known in every file.

    Statements that differ in one condition are written once. Each line ``-- each: name place =
    condition`` below the name defines a statement with the condition in place of ``{place}``. A
    line ``-- without: name part …`` defines a statement without these parts, which are between
    ``-- part: part`` and ``-- end``. Its remaining parameters are renumbered in their order.
    """

    def __init__(self, statements: Mapping[str, str]) -> None:
        self._statements = dict(statements)

    @classmethod
    def load(cls, package: str | ModuleType, *names: str) -> Self:
        """Read files of a package, by default ``queries.sql``.

        Raises:
            FileNotFoundError: a file is missing in the package.
            ValueError: a file is malformed, or two files have a statement of the same name.
        """
        found: dict[str, str] = {}
        for name in names or (_USUAL_FILE,):
            one = cls.parse((files(package) / name).read_text(encoding="utf-8"))
            for statement in one:
                if statement in found:
                    raise ValueError(f"the statement {statement} is in two files of {package}")
                found[statement] = one[statement]
        return cls(found)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the statements of a text.

        Raises:
            ValueError: SQL before the first name, a repeated name, an empty statement, or an
                unknown list.
        """
        statements, lists = _parts(text)
        known = {**_shared_lists(), **lists}
        return cls(
            {
                name: f"{_expanded(name, body, known)}\n/* {name} */"
                for name, body in statements.items()
            }
        )

    def __getitem__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise KeyError(f"no statement is called {name}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


@cache
def _shared_lists() -> Mapping[str, str]:
    _, lists = _parts((files(__package__) / "lists.sql").read_text(encoding="utf-8"))
    return lists


def _parts(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Split a file into its statements and its lists."""
    found: dict[tuple[str, str], list[str]] = {}
    variants: dict[str, list[tuple[str, str, str]]] = {}
    shorter: dict[str, list[tuple[str, frozenset[str]]]] = {}
    lines: list[str] | None = None
    head = ("", "")
    for line in text.splitlines():
        if lines == [] and _is_variant(head[1], line, variants, shorter):
            continue
        if match := _HEAD.match(line):
            head = (match[1], match[2])
            if head in found:
                raise ValueError(f"the statement {match[2]} is there twice")
            lines = found[head] = []
        elif lines is not None:
            is_description = line.startswith("--") and not lines
            if line.strip() and not is_description:
                lines.append(line.rstrip())
        elif line.strip() and not line.startswith("--"):
            raise ValueError(f"SQL before the first name: {line}")
    _add_shorter(found, shorter)
    return _named(found, variants)


def _is_variant(
    name: str,
    line: str,
    variants: dict[str, list[tuple[str, str, str]]],
    shorter: dict[str, list[tuple[str, frozenset[str]]]],
) -> bool:
    """Note the variant of a statement if the line declares one; return whether it does."""
    if match := _EACH.match(line):
        variants.setdefault(name, []).append((match[1], match[2], match[3]))
    elif match := _WITHOUT.match(line):
        shorter.setdefault(name, []).append((match[1], frozenset(match[2].split())))
    return match is not None


def _add_shorter(
    found: dict[tuple[str, str], list[str]],
    shorter: Mapping[str, list[tuple[str, frozenset[str]]]],
) -> None:
    """Add the variants without some parts, and remove the markers of parts."""
    for name, wanted in shorter.items():
        for variant, parts in wanted:
            if ("name", variant) in found:
                raise ValueError(f"the statement {variant} is there twice")
            body = "\n".join(_without(name, found["name", name], parts))
            found["name", variant] = _renumbered(body).splitlines()
    for (_, name), lines in found.items():
        lines[:] = _without(name, lines, frozenset())


def _renumbered(body: str) -> str:
    """Renumber the parameters of a statement, in their order."""
    numbers = sorted({int(number) for number in _PARAMETER.findall(body)})

    def place_of(match: re.Match[str]) -> str:
        return f"${numbers.index(int(match[1])) + 1}"

    return _PARAMETER.sub(place_of, body)


def _without(name: str, lines: list[str], parts: frozenset[str]) -> list[str]:
    """Return the lines of a statement without some parts, and without the markers of parts."""
    kept: list[str] = []
    known: set[str] = set()
    inside: str | None = None
    for line in lines:
        if match := _PART.match(line):
            inside = match[1]
            known.add(inside)
        elif inside is not None and _PART_END.match(line):
            inside = None
        elif inside not in parts:
            kept.append(line)
    if inside is not None or not parts <= known:
        raise ValueError(f"parts of the statement {name} don't end, or are not there")
    return kept


def _named(
    found: Mapping[tuple[str, str], list[str]], variants: Mapping[str, list[tuple[str, str, str]]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return statements and lists by name, with one statement for each condition."""
    statements: dict[str, str] = {}
    lists: dict[str, str] = {}
    for (kind, name), body in found.items():
        if kind == "name" and name in variants:
            for variant, place, condition in variants[name]:
                if ("name", variant) in found or variant in statements:
                    raise ValueError(f"the statement {variant} is there twice")
                statements[variant] = _body(name, body).replace(f"{{{place}}}", condition)
        elif kind == "name":
            statements[name] = _body(name, body)
        elif match := _SELECT.match(_body(name, body)):
            lists[name] = match[1]
        else:
            raise ValueError(f"the list {name} is no SELECT of columns")
    return statements, lists


def _body(name: str, lines: list[str]) -> str:
    body = "\n".join(lines).rstrip().rstrip(";").rstrip()
    if not body:
        raise ValueError(f"the statement {name} is empty")
    return body


def _expanded(name: str, body: str, lists: Mapping[str, str]) -> str:
    def columns(place: re.Match[str]) -> str:
        try:
            return lists[place[1]]
        except KeyError:
            raise ValueError(f"the statement {name} names no list: {place[0]}") from None

    return _PLACE.sub(columns, body)
