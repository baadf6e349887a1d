"""Folders of a package are rooms: few modules, named by nouns, no prefix in place of a folder."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from findings import run, source_folders

MOST_MODULES = 12
SAME_PREFIX = 3
NO_NAMES = frozenset({"utils", "util", "helpers", "helper", "misc", "base", "common"})


def find(root: Path) -> Iterator[str]:
    """Find folders with too many modules, repeated prefixes and names that say nothing."""
    for package in source_folders(root):
        folders = sorted({path.parent for path in package.rglob("*.py")})
        for folder in folders:
            names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
            yield from _folder(folder.relative_to(root), names)


def _folder(folder: Path, names: list[str]) -> Iterator[str]:
    if len(names) > MOST_MODULES:
        yield f"{folder}: {len(names)} modules, at most {MOST_MODULES} fit a folder"
    prefixes = Counter(name.split("_")[0] for name in names if name.strip("_"))
    for prefix, count in prefixes.items():
        if count >= SAME_PREFIX:
            yield f"{folder}: {count} modules begin with `{prefix}`: make it a folder"
    for name in [folder.name, *names]:
        if name in NO_NAMES:
            yield f"{folder}: `{name}` is no name: say what it is"


if __name__ == "__main__":
    run(find)
