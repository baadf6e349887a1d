"""The changes that CONTRIBUTING shows can be made to the code of today."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from findings import run

GUIDE = "CONTRIBUTING.md"

_DIFF = re.compile(r"^(````?)diff\n(.*?)^\1$", re.MULTILINE | re.DOTALL)


def find(root: Path) -> Iterator[str]:
    """Find shown changes that don't apply any more."""
    text = (root / GUIDE).read_text()
    for shown in _DIFF.finditer(text):
        done = subprocess.run(
            ["git", "apply", "--check", "-"],  # noqa: S607 (git of the path)
            cwd=root,
            input=shown[2],
            capture_output=True,
            text=True,
            check=False,
        )
        line = text.count("\n", 0, shown.start()) + 1
        for error in done.stderr.splitlines():
            yield f"{GUIDE}:{line}: {error}"


if __name__ == "__main__":
    run(find)
