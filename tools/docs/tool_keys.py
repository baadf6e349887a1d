"""The key tables of the pages about tools, from the contract's tables."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from noetl_contract.tools import TOOLS, ToolKey, ToolKind

_BEGIN = "<!-- keys: generated from the contract by tools/docs -->"
_END = "<!-- end of keys -->"
_FOLDER = Path("docs/tools")


def pages(root: Path) -> dict[str, Callable[[Path], str]]:
    """Return the pages that have a table, by name."""
    return {
        (_FOLDER / path.name).as_posix(): partial(_page, path.stem)
        for path in sorted((root / _FOLDER).glob("*.md"))
        if path.stem in TOOLS
    }


def _page(kind: str, root: Path) -> str:
    text = (root / _FOLDER / f"{kind}.md").read_text()
    before, found, rest = text.partition(_BEGIN)
    _, ended, after = rest.partition(_END)
    if not found or not ended:
        raise ValueError(f"docs/tools/{kind}.md lacks the lines around its table of keys")
    return f"{before}{_BEGIN}\n{_table(TOOLS[kind])}\n{_END}{after}"


def _table(kind: ToolKind) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    either = {name: group for group in kind.alternatives for name in group}
    lines += _rows(kind.keys, either=either)
    return "\n".join(lines)


def _rows(
    keys: tuple[ToolKey, ...], *, either: dict[str, tuple[str, ...]], prefix: str = ""
) -> Iterator[str]:
    for key in keys:
        names = ", ".join(f"`{prefix}{name}`" for name in key.names)
        meaning = key.description
        if key.choices:
            meaning += f" One of {', '.join(f'`{choice}`' for choice in key.choices)}."
        default = _default(key)
        if key.name in either:
            default = f"one of {', '.join(f'`{name}`' for name in either[key.name])}"
        yield f"| {names} | {key.type.value.replace('_', ' ')} | {default} | {meaning} |"
        yield from _rows(key.keys, either={}, prefix=f"{prefix}{key.name}.")


def _default(key: ToolKey) -> str:
    if key.is_required:
        return "required"
    if key.default_text is not None:
        return key.default_text.replace("<", "\\<")
    if key.default is None:
        return ""
    return f"`{key.default if isinstance(key.default, str) else json.dumps(key.default)}`"
