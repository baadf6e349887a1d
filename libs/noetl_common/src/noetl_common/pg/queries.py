"""Named SQL statements in a file next to the store that uses them."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import Self

_USUAL_FILE = "queries.sql"
_HEAD = re.compile(r"^--\s*(name|list):\s*(\S+)\s*$")
# The list's own FROM stands at the beginning of a line, those inside of its columns don't.
_SELECT = re.compile(r"SELECT\s+(.+?)\s+^FROM\s", re.DOTALL | re.MULTILINE)
_EACH = re.compile(r"^--\s*each:\s*(\S+)\s+([a-z_]+)\s*=\s*(.+)$")
_PLACE = re.compile(r"(?<!')\{([a-z_]+)\}")


class Queries:
    """Statements by name.

    A statement starts with ``-- name: verb_object``; the comment lines right after it describe
    it and are left out. Its name is added as a trailing comment, so that database views show
    it and span names don't.

    ``-- list: name`` starts a SELECT whose columns ``{name}`` stands for in the statements of
    the file. The lists of log rows (``lists.sql``) are known in every file.

    Statements that differ in one condition are written once: each line ``-- each: name place =
    condition`` below the head makes one with the condition for ``{place}``.
    """

    def __init__(self, statements: Mapping[str, str]) -> None:
        self._statements = dict(statements)

    @classmethod
    def load(cls, package: str | ModuleType, *names: str) -> Self:
        """Read files of a package; ``queries.sql`` when none is named.

        Raises:
            FileNotFoundError: the package lacks one of them.
            ValueError: a file is not in the form described, or two have the same statement.
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
        """Read statements from a text.

        Raises:
            ValueError: SQL before the first name, a name used twice, an empty statement, or a
                list that is not there.
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
    lines: list[str] | None = None
    head = ("", "")
    for line in text.splitlines():
        if lines == [] and (match := _EACH.match(line)):
            variants.setdefault(head[1], []).append((match[1], match[2], match[3]))
        elif match := _HEAD.match(line):
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
    return _named(found, variants)


def _named(
    found: Mapping[tuple[str, str], list[str]], variants: Mapping[str, list[tuple[str, str, str]]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return statements and lists by name, those of several conditions once for each."""
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
