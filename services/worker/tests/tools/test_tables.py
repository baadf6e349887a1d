"""The contract's tables of tool kinds are true about the tools of this package."""

import ast
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import NoReturn

import noetl_worker.tools
import pytest
from noetl_contract.tools import TOOLS, ToolKey
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.nats.call import Call
from noetl_worker.tools.nats.nats import _OPERATIONS
from noetl_worker.tools.registry import GROUP
from noetl_worker.tools.tool import ToolError

NATS = TOOLS["nats"].variants.required  # type: ignore[union-attr]

TOP = next(folder for folder in Path(__file__).parents if (folder / "Makefile").exists())
SOURCES = [
    *sorted(Path(noetl_worker.tools.__file__).parent.rglob("*.py")),
    *sorted(TOP.glob("packages/noetl_tool_*/src/**/*.py")),
]
READERS = frozenset(
    {"text", "optional_text", "optional_unsigned", "optional_integer", "optional_number",
     "required_value", "flag", "mapping", "texts", "text_list", "choice", "items", "port", "login",
     "required"}
)  # fmt: skip


def names_of(keys: tuple[ToolKey, ...]) -> Iterator[str]:
    for key in keys:
        yield from key.names
        yield from names_of(key.keys)


def names_read(source: Path) -> Iterator[str]:
    """Yield the names of fields that a module reads, where they are written in the call."""
    for node in ast.walk(ast.parse(source.read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(attr=reader), args=[ast.Constant(value=str(name)), *_]
            ) if reader in READERS:
                yield name


def test_the_kinds_that_are_run_are_installed() -> None:
    # References to the workbook are replaced before a command is made; the engine itself waits.
    elsewhere = {"workbook", "wait", "sleep"}
    kinds = [kind for kind in TOOLS.values() if not kind.package or kind.is_in_images]
    run = {kind.name for kind in kinds if kind.is_run} - elsewhere

    assert {entry.name for entry in entry_points(group=GROUP)} >= run


def test_every_field_that_a_tool_reads_is_in_a_table() -> None:
    known = {name for kind in TOOLS.values() for name in names_of(kind.keys)}
    read = {name for source in SOURCES for name in names_read(source)}

    assert len(read) > 60
    assert read - known == set()


def test_the_operations_of_nats_are_those_of_its_table() -> None:
    assert NATS.keys() == _OPERATIONS.keys()


@pytest.mark.parametrize(
    ("operation", "name"), [(operation, name) for operation in NATS for name in NATS[operation]]
)
async def test_an_operation_of_nats_refuses_what_its_table_requires(
    operation: str, name: str
) -> None:
    config = {given: "a" for given in NATS[operation] if given != name}

    async def connect() -> NoReturn:
        raise AssertionError("fields are read before that")

    call = Call(Fields(config, kind="nats"), operation, 1, connect, variables={"a": []})
    with pytest.raises(ToolError, match=rf"'{name}'"):
        await _OPERATIONS[operation](call)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind.name, key.name)
        for kind in TOOLS.values()
        if kind.is_run
        for key in kind.keys
        if key.is_required
    ],
)
def test_a_missing_key_is_refused_by_its_name(kind: str, name: str) -> None:
    given = {key.name: {} for key in TOOLS[kind].keys if key.is_required and key.name != name}

    with pytest.raises(ToolError, match=f"Invalid {kind} config: missing field `{name}`"):
        Fields(given, kind=kind).check_required()
