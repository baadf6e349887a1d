"""Filters on text; other values, such as numbers and lists, are printed first."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from noetl_template.containers import listed
from noetl_template.context import Operation, RenderContext
from noetl_template.errors import EvaluationError
from noetl_template.values import MAX_NESTING, Kind, Value, quoted

_HTML: Final = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;", "/": "&#x2f;",
}  # fmt: skip
_HTML_SPECIAL: Final = re.compile(r"[&<>\"'/]")
_PUNCTUATION: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_FORMAT: Final = re.compile(
    r"%(?:\((?P<key>[^)]*)\))?(?P<flags>[-+ #0]*)(?P<width>\d+)?(?:\.(?P<precision>\d+))?"
    r"(?P<type>.)?",
    re.DOTALL,
)
_WHOLE: Final = frozenset("diuoxX")
_REAL: Final = frozenset("eEfFgG")
_MAX_WIDTH: Final = 10_000
_CHARS_PER_CONVERSION: Final = 128


def of_text(change: Callable[[str], str]) -> Operation:
    """Return the filter that changes the printed form of a value."""

    def changed(context: RenderContext, value: Value) -> str:
        return change(context.dialect.text(value, context.budget))

    return changed


def capitalize(text: str) -> str:
    return text[:1].upper() + text[1:].lower()


def title(context: RenderContext, value: Value) -> str:
    text = context.dialect.text(value, context.budget)
    context.budget.visit(len(text))
    letters = []
    starts_word = True
    for char in text:
        if char in _PUNCTUATION or char.isspace():
            letters.append(char)
            starts_word = True
        else:
            letters.append(char.upper() if starts_word else char.lower())
            starts_word = False
    return "".join(letters)


def replace(context: RenderContext, value: Value, old: Value, new: Value) -> str:
    text, old, new = (context.dialect.text(part, context.budget) for part in (value, old, new))
    occurrences = text.count(old)
    context.budget.visit(occurrences // 4)
    context.budget.check_length(len(text) + occurrences * (len(new) - len(old)))
    return text.replace(old, new)


def escape(context: RenderContext, value: Value) -> str:
    text = context.dialect.text(value, context.budget)
    if _HTML_SPECIAL.search(text) is None:
        return text
    growth = sum(text.count(char) * (len(name) - 1) for char, name in _HTML.items())
    context.budget.check_length(len(text) + growth)
    for char, name in _HTML.items():
        text = text.replace(char, name)
    return text


def safe(_context: RenderContext, value: Value) -> Value:
    return value


def lines(context: RenderContext, value: Value) -> list[Value]:
    if not isinstance(value, str):
        raise EvaluationError("invalid operation: value is not a string")
    context.budget.make(value.count("\n"))
    parts = value.replace("\r\n", "\n").split("\n")
    if parts[-1] == "":
        parts.pop()
    return listed(context.budget, parts)


def indent(
    context: RenderContext,
    value: Value,
    width: Value,
    first: Value = False,  # noqa: FBT002 - positional in templates
    blank: Value = False,  # noqa: FBT002 - positional in templates
) -> str:
    if type(width) is not int or width < 0:
        raise EvaluationError("invalid operation: indent needs a width")
    text = context.dialect.text(value, context.budget)
    height = text.count("\n") + 1
    context.budget.check_length(len(text) + width * height)
    context.budget.make(height)
    margin = " " * width
    rows = _without_line_end(text).split("\n")
    indented = [margin + row if row or blank else row for row in rows]
    if not first:
        indented[0] = rows[0]
    return _without_line_end("\n".join(indented))


def _without_line_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def split(context: RenderContext, value: Value, separator: Value = " ") -> list[Value]:
    text = context.dialect.text(value, context.budget)
    separator = context.dialect.text(separator, context.budget)
    if separator:
        context.budget.make(text.count(separator))
        return listed(context.budget, text.split(separator))
    context.budget.make(len(text))
    return listed(context.budget, ["", *text, ""])


def join(context: RenderContext, value: Value, separator: Value = "") -> str:
    dialect = context.dialect
    if dialect.kind(value) in {Kind.BOOL, Kind.NUMBER}:
        raise EvaluationError(
            f"invalid operation: cannot join value of type {dialect.kind(value).word}"
        )
    elements = dialect.elements(value, context.budget)
    return join_elements(context, elements, dialect.text(separator, context.budget))


def join_elements(context: RenderContext, elements: list[Value], separator: str) -> str:
    """Print the elements with a separator between them."""
    context.budget.visit(len(elements))
    parts = [context.dialect.text(element, context.budget) for element in elements]
    length = sum(map(len, parts)) + len(separator) * len(parts)
    context.budget.check_length(length)
    context.budget.spend(length)
    return separator.join(parts)


def pprint(context: RenderContext, value: Value) -> str:
    return _pretty(context, value, "", 0)


def _pretty(context: RenderContext, value: Value, margin: str, depth: int) -> str:
    inner = margin + "    "
    depth += 1
    match value:
        case str():
            return quoted(value, context.budget)
        case _ if depth > MAX_NESTING:
            raise EvaluationError("value is nested too deeply")
        case list() if value:
            context.budget.visit(2 * len(value))
            rows = [f"{inner}{_pretty(context, element, inner, depth)},\n" for element in value]
            opening, closing = "[]"
        case Mapping() if value:
            context.budget.visit(2 * len(value))
            rows = [
                f"{inner}{_pretty(context, key, inner, depth)}: "
                f"{_pretty(context, entry, inner, depth)},\n"
                for key, entry in context.dialect.sorted_items(value, context.budget)
            ]
            opening, closing = "{}"
        case _:
            return context.dialect.printed(value, context.budget, depth=1)
    length = sum(map(len, rows))
    context.budget.check_length(length)
    context.budget.spend(length)
    return f"{opening}\n{''.join(rows)}{margin}{closing}"


def format_text(context: RenderContext, value: Value, *args: Value, **kwargs: Value) -> str:
    """Format values in ``printf`` notation."""
    if not isinstance(value, str):
        raise EvaluationError("invalid operation: value is not a string")
    remaining = list(reversed(args))
    length = len(value)

    def substitute(match: re.Match[str]) -> str:
        nonlocal length
        formatted = convert(match)
        length += len(formatted) - len(match.group())
        context.budget.check_length(length)
        context.budget.spend(_CHARS_PER_CONVERSION + len(formatted))
        return formatted

    def convert(match: re.Match[str]) -> str:
        if match["type"] == "%":
            return "%"
        key = match["key"]
        if key is not None:
            argument = kwargs.get(key)
        elif remaining:
            argument = remaining.pop()
        else:
            raise EvaluationError("missing argument")
        return _format_one(context, match, argument)

    return _FORMAT.sub(substitute, value)


def _format_one(context: RenderContext, match: re.Match[str], argument: Value) -> str:
    letter = match["type"] or ""
    width, precision = match["width"] or "", match["precision"]
    if max(int(width[:9] or 0), int((precision or "")[:9] or 0)) > _MAX_WIDTH:
        raise EvaluationError("invalid operation: format width is too large")
    if letter == "s":
        argument = context.dialect.text(argument, context.budget)
    elif letter in _WHOLE or letter in _REAL:
        if not isinstance(argument, int | float):
            raise EvaluationError("invalid operation: format needs a number")
        argument = int(argument) if letter in _WHOLE else float(argument)
    else:
        raise EvaluationError(
            f"invalid operation: invalid conversion type '{letter}' in format spec"
        )
    dot = "" if precision is None else f".{precision}"
    formatted: str = f"%{match['flags']}{width}{dot}{letter}" % argument
    return formatted
