"""The key tables of the language reference, from the language's one declaration.

A table stands between ``<!-- keys of LEVEL: … -->`` and ``<!-- end of keys -->``.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from noetl_engine.playbook.language import LEVELS
from noetl_engine.playbook.levels import Key, Schema, level_of
from tables import table

_FOLDER = Path("docs/language")
_TABLE = re.compile(
    r"(<!-- keys of (\w+): generated from the language by tools/docs -->\n)"
    r".*?(<!-- end of keys -->)",
    re.DOTALL,
)
_WORDS = {"string": "text", "object": "mapping", "array": "list", "boolean": "true or false"}
# More words than that are listed elsewhere.
_SHOWN = 6


def pages(root: Path) -> dict[str, Callable[[Path], str]]:
    """Return the pages that have tables, by name."""
    return {
        (_FOLDER / path.name).as_posix(): partial(_page, path.name)
        for path in sorted((root / _FOLDER).glob("*.md"))
        if _TABLE.search(path.read_text())
    }


def levels_without_table(root: Path) -> set[str]:
    """Return the mappings of the language that no page has a table of."""
    texts = [path.read_text() for path in (root / _FOLDER).glob("*.md")]
    return set(LEVELS) - {found[2] for text in texts for found in _TABLE.finditer(text)}


def _page(name: str, root: Path) -> str:
    text = (root / _FOLDER / name).read_text()
    return _TABLE.sub(lambda found: f"{found[1]}{_table(found[2])}\n{found[3]}", text)


def _table(level: str) -> str:
    return "\n".join(table(("key", "value", "meaning"), _rows(level)))


def _rows(level: str) -> Iterator[tuple[str, str, str]]:
    """Yield keys that work first, in the order of the declaration, then keys without effect."""
    keys = LEVELS[level].keys.items()
    for name, key in sorted(keys, key=lambda item: item[1].inert is not None):
        needed = ", needed" if key.is_required else ""
        yield f"`{name}`", f"{_value(key.schema)}{needed}", _meaning(key)


def _meaning(key: Key) -> str:
    return key.doc if key.inert is None else f"No effect: {key.inert}."


def _value(schema: Schema) -> str:
    """Describe the form of a value in words."""
    level, choices = level_of(schema), schema.get("anyOf")
    if level is not None:
        return f"mapping ({level})"
    if isinstance(choices, list):
        return " or ".join(_value(one) for one in choices if isinstance(one, dict))
    if "const" in schema:
        return f"`{schema['const']}`"
    words = schema.get("enum")
    if isinstance(words, list):
        return ", ".join(f"`{word}`" for word in words) if len(words) <= _SHOWN else "a word"
    return _of_type(schema)


def _of_type(schema: Schema) -> str:
    kind, item = schema.get("type"), schema.get("items")
    if isinstance(kind, list):
        if "object" in kind:
            return "mapping, list or template"
        return "text" if "boolean" in kind else "number or template"
    if kind == "array" and isinstance(item, dict):
        return f"list of {_value(item)}"
    return _WORDS.get(str(kind), str(kind)) if kind else "anything"
