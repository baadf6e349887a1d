from collections.abc import Callable
from pathlib import Path

import pytest
import rooms

PACKAGE = "services/outbox/src/noetl_outbox"
ASKS = "change that, or say why not in a comment `# size: …`"


def _modules(plant: Callable[[str, str], None], *names: str) -> None:
    for name in ("__init__", *names):
        plant(f"{PACKAGE}/{name}.py", "")


def test_a_dozen_modules_fit_a_folder(plant: Callable[[str, str], None], tmp_path: Path) -> None:
    _modules(plant, *(f"m{n}" for n in range(12)))

    assert list(rooms.find(tmp_path)) == []


def test_thirteen_are_asked_why(plant: Callable[[str, str], None], tmp_path: Path) -> None:
    _modules(plant, *(f"m{n}" for n in range(13)))

    assert list(rooms.find(tmp_path)) == [f"{PACKAGE}: 13 modules, at most 12 fit a folder: {ASKS}"]

    plant(f"{PACKAGE}/__init__.py", "# size: one module for each kind\n")
    assert list(rooms.find(tmp_path)) == []
    assert list(rooms.warnings(tmp_path)) == [
        f"{PACKAGE}: 13 modules, at most 12 fit a folder, but: one module for each kind"
    ]


def test_a_folder_of_one_module_is_asked_why(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    # A package may be of one module, and so may a folder that has folders.
    _modules(plant, "app", "room/__init__", "room/only", "house/door", "house/one/a", "house/one/b")

    assert list(rooms.find(tmp_path)) == [
        f"{PACKAGE}/room: one module, which makes no folder: {ASKS}"
    ]

    plant(f"{PACKAGE}/room/__init__.py", "# size: packages of others bring more\n")
    assert list(rooms.find(tmp_path)) == []
    assert len(list(rooms.warnings(tmp_path))) == 1


def test_a_reason_that_nobody_asks_for_is_told(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    _modules(plant, "a", "b")
    plant(f"{PACKAGE}/__init__.py", "# size: there were thirteen before\n")

    assert list(rooms.find(tmp_path)) == [
        f"{PACKAGE}: 2 modules need no `# size: there were thirteen before`"
    ]


def test_two_modules_may_share_a_prefix_and_three_may_not(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    _modules(plant, "sql_text", "sql_cells")
    assert list(rooms.find(tmp_path)) == []

    _modules(plant, "sql")
    assert list(rooms.find(tmp_path)) == [
        f"{PACKAGE}: 3 modules begin with `sql`: make it a folder"
    ]


@pytest.mark.parametrize("name", ["utils", "helpers", "base", "common", "misc/thing"])
def test_a_name_has_to_say_something(
    name: str, plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    _modules(plant, name, "misc/other" if "/" in name else "other")

    word = name.partition("/")[0]
    assert [found.partition(": ")[2] for found in rooms.find(tmp_path)] == [
        f"`{word}` is no name: say what it is"
    ]
