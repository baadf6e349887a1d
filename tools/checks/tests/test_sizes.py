from collections.abc import Callable
from pathlib import Path

import sizes

MODULE = "libs/noetl_engine/src/noetl_engine/fold.py"


def _function(lines: int) -> str:
    return "def long():\n" + "    pass\n" * (lines - 1)


def test_long_functions_and_modules_are_told(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant("libs/noetl_engine/src/noetl_engine/__init__.py", "")
    plant(MODULE, _function(60) + "\n" * 390)
    assert list(sizes.find(tmp_path)) == []

    plant(MODULE, _function(61) + "\n" * 390)
    assert list(sizes.find(tmp_path)) == [
        f"{MODULE}: 451 lines, at most 450 make a module",
        f"{MODULE}:1: `long` has 61 lines, at most 60",
    ]
