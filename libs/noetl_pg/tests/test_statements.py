"""All statements of all installed packages, against the migrated schema."""

import ast
import pkgutil
import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg
import pytest
from noetl_pg.sql.queries import Queries
from noetl_testkit.postgres import Database

CALLS = {"fetch", "fetchrow", "fetchone", "fetchval", "execute"}
IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*[a-z0-9]")


def walk(place: Traversable, suffix: str, folder: str = "") -> Iterator[tuple[str, str]]:
    """Paths below a package and the texts of these files."""
    for child in sorted(place.iterdir(), key=lambda one: one.name):
        if child.is_dir():
            yield from walk(child, suffix, f"{folder}{child.name}/")
        elif child.name.endswith(suffix):
            yield f"{folder}{child.name}", child.read_text(encoding="utf-8")


def packages() -> list[str]:
    names = [found.name for found in pkgutil.iter_modules() if found.ispkg]
    return [name for name in names if name == "noetl" or name.startswith("noetl_")]


def statements(package: str) -> dict[str, str]:
    """All statements of a package by ``file: name``."""
    found = {}
    for path, text in walk(files(package), ".sql"):
        queries = Queries.parse(text)
        found.update({f"{path}: {name}": queries[name] for name in queries})
    return found


def names_in(source: str) -> tuple[set[str], set[str]]:
    """Patterns of all names in Python code, and the names by which it runs statements."""
    patterns: set[str] = set()
    run: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and is_name(node):
            patterns.add(str(node.value))
        match node:
            case ast.Call(func=ast.Attribute(attr=method), args=[name, *_]) if method in CALLS:
                pass
            case ast.Subscript(
                value=ast.Attribute(attr="_sql" | "_queries" | "_model"), slice=name
            ):
                pass
            case _:
                continue
        match name:
            case ast.Constant() if is_name(name):
                run.add(str(name.value))
            case ast.JoinedStr(values=parts):  # computed: `page_{table}`
                patterns.add("".join(pattern_of(part) for part in parts))
    return patterns, run


def is_name(node: ast.Constant) -> bool:
    return isinstance(node.value, str) and IDENTIFIER.fullmatch(node.value) is not None


def pattern_of(part: ast.expr) -> str:
    return re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[a-z]+"


def test_names_are_found_in_code() -> None:
    source = """
async def read(self, table):
    await self._db.fetch("list_things", 1)
    await self._rows("find_thing")
    await self._db.fetch(f"page_{table}")
    await connection.execute("SELECT 1")
    key = f"{table}_{table}"
"""

    assert names_in(source) == ({"list_things", "find_thing", "page_[a-z]+"}, {"list_things"})


PACKAGES = [name for name in packages() if statements(name)]


def test_the_packages_with_statements_are_found() -> None:
    assert {"noetl_catalog", "noetl_orchestrator", "noetl_outbox", "noetl_projector"} <= {*PACKAGES}


@pytest.mark.parametrize("package", PACKAGES)
async def test_every_statement_can_be_prepared(database: Database, package: str) -> None:
    connection = await asyncpg.connect(database.dsn)
    broken = {}
    try:
        for name, statement in statements(package).items():
            try:
                await connection.prepare(statement)
            except asyncpg.PostgresError as error:
                broken[name] = str(error)
    finally:
        await connection.close()

    assert broken == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_statement_is_used_and_every_used_one_exists(package: str) -> None:
    texts: set[str] = set()
    run: set[str] = set()
    for _, source in walk(files(package), ".py"):
        in_file = names_in(source)
        texts |= in_file[0]
        run |= in_file[1]
    there = {name.split(": ")[1] for name in statements(package)}
    unused = {name for name in there if not any(re.fullmatch(text, name) for text in texts)}

    assert unused == set()
    assert run - there == set()
