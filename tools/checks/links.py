"""Relative links in documents lead somewhere, their anchors too."""

import re
from collections.abc import Iterator
from pathlib import Path

from findings import files, run

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)


def find(root: Path) -> Iterator[str]:
    """Find links to files and headings that don't exist."""
    for path in files(root, ".md"):
        text = _CODE.sub("", path.read_text())
        for target in _LINK.findall(text):
            if re.match(r"[a-z+]+:", target):
                continue
            name, _, anchor = target.partition("#")
            there = (path.parent / name).resolve() if name else path
            if not there.exists():
                yield f"{path.relative_to(root)}: no file behind the link `{target}`"
            elif anchor and there.suffix == ".md" and anchor not in _anchors(there):
                yield f"{path.relative_to(root)}: no heading behind the link `{target}`"


def _anchors(path: Path) -> set[str]:
    headings = _HEADING.findall(path.read_text())
    plain = (re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


if __name__ == "__main__":
    run(find)
