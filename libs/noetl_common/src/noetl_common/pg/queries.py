"""Named SQL statements in a file next to the store that uses them."""

import re
from collections.abc import Iterator
from importlib.resources import files
from types import ModuleType
from typing import Self

__all__ = ["Queries"]

_USUAL_FILE = "queries.sql"
_NAME = re.compile(r"^--\s*name:\s*(\S+)\s*$")


class Queries:
    """Statements by name.

    A statement starts with ``-- name: verb_object``; the comment lines right after it describe
    it and are left out. Its name is added as a trailing comment, so that database views show
    it and span names don't.
    """

    def __init__(self, statements: dict[str, str]) -> None:
        self._statements = statements

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
            ValueError: SQL before the first name, a name used twice, or an empty statement.
        """
        found: dict[str, list[str]] = {}
        name = ""
        for line in text.splitlines():
            if match := _NAME.match(line):
                name = match[1]
                if name in found:
                    raise ValueError(f"the statement {name} is there twice")
                found[name] = []
            elif name:
                is_description = line.startswith("--") and not found[name]
                if line.strip() and not is_description:
                    found[name].append(line.rstrip())
            elif line.strip() and not line.startswith("--"):
                raise ValueError(f"SQL before the first name: {line}")
        return cls({name: _statement(name, lines) for name, lines in found.items()})

    def __getitem__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise KeyError(f"no statement is called {name}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def _statement(name: str, lines: list[str]) -> str:
    body = "\n".join(lines).rstrip().rstrip(";").rstrip()
    if not body:
        raise ValueError(f"the statement {name} is empty")
    return f"{body}\n/* {name} */"
