"""Each package declares the packages that it imports, and no others (deptry, once per package)."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from findings import run, source_folders


def find(root: Path) -> Iterator[str]:
    """Find imports that are not declared and declarations that are not imported."""
    members = sorted({package.parents[1] for package in source_folders(root)})
    with ThreadPoolExecutor(max_workers=2) as pool:
        for member, output in zip(members, pool.map(_deptry, members), strict=True):
            for line in output:
                yield f"{member.relative_to(root)}/{line}"


def _deptry(member: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "deptry", "src", "--no-ansi"],
        cwd=member,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line for line in done.stderr.splitlines() if ": DEP" in line]
    return found or ([] if done.returncode == 0 else [f"pyproject.toml: {done.stderr.strip()}"])


if __name__ == "__main__":
    run(find)
