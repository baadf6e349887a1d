from collections.abc import Callable
from pathlib import Path

import pytest
import rooms

PACKAGE = "services/outbox/src/noetl_outbox"


def _modules(plant: Callable[[str, str], None], *names: str) -> None:
    for name in ("__init__", *names):
        plant(f"{PACKAGE}/{name}.py", "")


def test_a_dozen_modules_fit_a_folder(plant: Callable[[str, str], None], tmp_path: Path) -> None:
    _modules(plant, *(f"m{n}" for n in range(12)))

    assert list(rooms.find(tmp_path)) == []


def test_thirteen_do_not(plant: Callable[[str, str], None], tmp_path: Path) -> None:
    _modules(plant, *(f"m{n}" for n in range(13)))

    assert list(rooms.find(tmp_path)) == [f"{PACKAGE}: 13 modules, at most 12 fit a folder"]


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
    _modules(plant, name)

    word = name.partition("/")[0]
    assert [found.partition(": ")[2] for found in rooms.find(tmp_path)] == [
        f"`{word}` is no name: say what it is"
    ]
