"""Escaping of data: templates that render to exactly a given text, even a text with tags.

The server renders the configuration of a command, and the worker renders it again. Data that the
first rendering has inserted (a comment from outside, the answer of a web service) must not be
executed as a template by the second. So the data is written as a template that renders to it. Text
of the playbook itself, such as from a ``{% raw %}`` block, stays a template for the worker.
"""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from noetl_template.values import Json

# Both are Unicode noncharacters, which regular text doesn't contain. The first marks the edges of
# data and each of its braces that could open a tag, the second the braces that do open a tag.
_EDGE: Final = "\ufdd1"
_BRACE: Final = "\ufdd2"
_OPENING: Final = re.compile(r"\{(?=[{%])")
_DATA_OPENING: Final = re.compile(rf"\{{{_EDGE}+(?=[{{%])")
_STRING: Final = r'"((?:[^"\\{}%#]|\\u[0-9a-f]{4})*)"'
_LITERAL: Final = re.compile(rf"\{{\{{ {_STRING} \| tojson \}}\}}")


def has_worker_syntax(text: str) -> bool:
    """Return whether a string is a template by the worker's rules."""
    return "{{" in text or "{%" in text


def holds_template(value: Json) -> bool:
    """Return whether any text in a value, except keys, is a template by the worker's rules."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if has_worker_syntax(each):
                return True
        elif isinstance(each, dict):
            waiting.extend(dict.values(each))
        elif isinstance(each, list):
            waiting.extend(each)
    return False


def templates_in(values: Iterable[Json]) -> frozenset[str]:
    """Return the texts in values that are templates by the worker's rules, stripped of whitespace.

    Texts within JSON texts are included, because rendering may decode the JSON.
    """
    found: set[str] = set()
    waiting = list(values)
    while waiting:
        match waiting.pop():
            case str() as text if has_worker_syntax(text):
                found.add(text.strip())
                if text.lstrip()[:1] in {"{", "["}:
                    with suppress(ValueError, RecursionError):
                        waiting.append(json.loads(text))
            case dict() as entries:
                waiting.extend(dict.values(entries))
            case list() | tuple() as elements:
                waiting.extend(elements)
    return frozenset(found)


def literal(value: Json, *, renders: int = 1, own: frozenset[str] = frozenset()) -> Json:
    """Return a template that renders to exactly this value; parts without tags are not changed.

    Args:
        value: The data.
        renders: The number of times that the template will be rendered.
        own: Texts that stay templates; see :func:`templates_in`.
    """
    return _literal(value, renders, own) if holds_template(value) else value


def _literal(value: Json, renders: int, own: frozenset[str]) -> Json:
    if isinstance(value, str):
        is_plain = not has_worker_syntax(value) or (own and value.strip() in own)
        return value if is_plain else _literal_text(value, renders)
    if isinstance(value, dict):
        return {key: _literal(item, renders, own) for key, item in dict.items(value)}
    if isinstance(value, list):
        return [_literal(item, renders, own) for item in value]
    return value


def _literal_text(text: str, renders: int) -> str:
    for _ in range(renders):
        text = f'{{{{ "{_escaped(text)}" | tojson }}}}'
    return text


def marked(text: str) -> str:
    """Return printed data with a mark at every brace that may open a tag, even at its end."""
    if "{" in text:
        text = _OPENING.sub("{" + _EDGE, text)
        if text[-1] == "{":
            text += _EDGE
    return _EDGE + text if text[:1] in {"{", "%"} else text


def settled(text: str) -> str:
    """Return a rendered text in which only braces of data that open a tag are still marked."""
    if _EDGE not in text:
        return text
    return _DATA_OPENING.sub("{" + _BRACE, text).replace(_EDGE, "")


def unmarked(value: Json, *, renders: int = 1) -> Json:
    """Return a rendered value with its marked parts escaped, so that they render to themselves."""
    if isinstance(value, str):
        if _BRACE not in value:
            return value
        if has_worker_syntax(value):
            return value.replace("{" + _BRACE, _inline_brace(renders))
        return _literal_text(value.replace(_BRACE, ""), renders)
    if isinstance(value, dict):
        return {key: unmarked(item, renders=renders) for key, item in value.items()}
    if isinstance(value, list):
        return [unmarked(item, renders=renders) for item in value]
    return value


def _inline_brace(renders: int) -> str:
    text = "{"
    for _ in range(renders):
        text = f'{{{{ "{_escaped(text)}" }}}}'
    return text


def whole_literal(text: str) -> str | None:
    """Return the text of a template from :func:`literal`, or None for any other template."""
    whole = _LITERAL.fullmatch(text) if text.endswith('" | tojson }}') else None
    return None if whole is None else _decoded(whole)


def _decoded(match: re.Match[str]) -> str:
    units = _UNIT.sub(lambda unit: chr(int(unit[1], 16)), match[1])
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_UNIT: Final = re.compile(r"\\u([0-9a-f]{4})")


def _escaped(text: str) -> str:
    return "".join(
        char
        if char.isascii() and char.isprintable() and char not in '"\\{}%#'
        else "".join(f"\\u{unit:04x}" for unit in _utf16(char))
        for char in text
    )


def _utf16(char: str) -> tuple[int, ...]:
    data = char.encode("utf-16-be", "surrogatepass")
    return tuple(int.from_bytes(data[start : start + 2]) for start in range(0, len(data), 2))
