from collections.abc import Callable
from pathlib import Path

import sizes

MODULE = "libs/noetl_engine/src/noetl_engine/fold.py"
ASKS = "change that, or say why not in a comment `# size: …`"
WHY = "one table of the fold, by type of event"

type Plant = Callable[[str, str], None]


def _function(lines: int, *, inside: str = "") -> str:
    return f"def long():\n{inside}" + "    pass\n" * (lines - 1 - inside.count("\n"))


def _found(plant: Plant, root: Path, text: str) -> tuple[list[str], list[str]]:
    plant(
        "libs/noetl_engine/src/noetl_engine/__init__.py", "# size: a reason of the folder alone\n"
    )
    plant(MODULE, text)
    return list(sizes.find(root)), list(sizes.warnings(root))


def test_what_is_within_the_limits_is_not_asked(plant: Plant, tmp_path: Path) -> None:
    assert _found(plant, tmp_path, _function(60) + "\n" * 390) == ([], [])


def test_long_functions_and_modules_are_asked_why(plant: Plant, tmp_path: Path) -> None:
    found, warnings = _found(plant, tmp_path, _function(61) + "\n" * 390)

    assert found == [
        f"{MODULE}: 451 lines, at most 450 make a module: {ASKS}",
        f"{MODULE}:1: `long`: 61 lines, at most 60 make a function: {ASKS}",
    ]
    assert warnings == []


def test_a_reason_lets_them_pass_with_a_warning(plant: Plant, tmp_path: Path) -> None:
    text = f"# size: {WHY},\n# and nothing else\n" + _function(61, inside=f"    # size: {WHY}\n")

    found, warnings = _found(plant, tmp_path, text + "\n" * 390)

    assert found == []
    assert warnings == [
        f"{MODULE}: 453 lines, at most 450 make a module, but: {WHY}, and nothing else",
        f"{MODULE}:3: `long`: 61 lines, at most 60 make a function, but: {WHY}",
    ]


def test_a_reason_belongs_to_one_thing(plant: Plant, tmp_path: Path) -> None:
    inner = "    def inner():\n" + f"        # size: {WHY}\n" + "        pass\n" * 20

    found, _ = _found(plant, tmp_path, f"# size: {WHY}\n" + _function(70, inside=inner))

    assert found == [
        f"{MODULE}: 71 lines need no `# size: {WHY}`",
        f"{MODULE}:2: `long`: 70 lines, at most 60 make a function: {ASKS}",
        f"{MODULE}:3: `inner`: 22 lines need no `# size: {WHY}`",
    ]


def test_few_words_are_no_reason(plant: Plant, tmp_path: Path) -> None:
    found, warnings = _found(plant, tmp_path, _function(61, inside="    # size: it is long\n"))

    (told,) = found
    assert told.startswith(f"{MODULE}:1: `long`: 61 lines, at most 60 make a function, and ")
    assert told.endswith("`# size: it is long` doesn't say why in 4 words or more")
    assert warnings == []
