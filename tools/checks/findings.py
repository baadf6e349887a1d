"""Files to look at, and the way in which every check reports its findings."""

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

type Check = Callable[[Path], Iterable[str]]

ROOT = Path(__file__).resolve().parents[2]


def files(root: Path, *suffixes: str) -> list[Path]:
    """Return the files of a checkout that end so; without git all below the folder."""
    listed = subprocess.run(  # noqa: S603 (constant words)
        ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607 (git of the path)
        capture_output=True,
        text=True,
        check=False,
    )
    names = listed.stdout.splitlines()
    inside = (root / ".git").exists()
    found = [root / name for name in names] if inside else sorted(root.rglob("*"))
    return [path for path in found if path.name.endswith(suffixes) and path.is_file()]


def source_folders(root: Path) -> list[Path]:
    """Return the folder of each package that is delivered."""
    patterns = (
        "libs/*/src/*", "services/*/src/*", "packages/*/src/*", "cli/src/*", "testkit/src/*",
    )  # fmt: skip
    found = [path for pattern in patterns for path in sorted(root.glob(pattern))]
    return [path for path in found if (path / "__init__.py").is_file()]


def run(check: Check, *warnings: Check) -> None:
    """Print the findings of a check in this checkout and end with 1 if there are any.

    Warnings are printed too, and end nothing.
    """
    for warn in warnings:
        for warning in warn(ROOT):
            sys.stdout.write(f"warning: {warning}\n")
    found = list(check(ROOT))
    for finding in found:
        sys.stdout.write(f"{finding}\n")
    sys.exit(1 if found else 0)
