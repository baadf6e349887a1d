"""Folders of a package are rooms: few modules, named by nouns, no prefix in place of a folder.

One module is no room, and more than a dozen are two, unless the folder says why not.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from findings import run, source_folders
from questions import Question, answered, asked, module_reason, unanswered

MOST_MODULES = 12
SAME_PREFIX = 3
NO_NAMES = frozenset({"utils", "util", "helpers", "helper", "misc", "base", "common"})


def find(root: Path) -> Iterator[str]:
    """Find folders of a size without a reason, repeated prefixes and names that say nothing."""
    yield from unanswered(_questions(root))
    for folder, names in _folders(root):
        yield from _names(folder.relative_to(root), names)


def warnings(root: Path) -> Iterator[str]:
    """Find folders of a size with a reason."""
    return answered(_questions(root))


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    for package in source_folders(root):
        for folder in sorted({path.parent for path in package.rglob("*.py")}):
            yield folder, sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")


def _questions(root: Path) -> Iterator[Question]:
    packages = source_folders(root)
    for folder, names in _folders(root):
        home = folder / "__init__.py"
        reason = module_reason(home.read_text()) if home.exists() else None
        is_alone = len(names) == 1 and folder not in packages and not any(folder.glob("*/*.py"))
        yield from asked(
            str(folder.relative_to(root)),
            "one module" if is_alone else f"{len(names)} modules",
            "which makes no folder" if is_alone else f"at most {MOST_MODULES} fit a folder",
            reason,
            is_beyond=is_alone or len(names) > MOST_MODULES,
        )


def _names(folder: Path, names: list[str]) -> Iterator[str]:
    prefixes = Counter(name.split("_")[0] for name in names if name.strip("_"))
    for prefix, count in prefixes.items():
        if count >= SAME_PREFIX:
            yield f"{folder}: {count} modules begin with `{prefix}`: make it a folder"
    for name in [folder.name, *names]:
        if name in NO_NAMES:
            yield f"{folder}: `{name}` is no name: say what it is"


if __name__ == "__main__":
    run(find, warnings)
