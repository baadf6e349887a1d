"""Filters for absent values, ends of lists and lengths, in which the dialects differ."""

from collections.abc import Mapping

from noetl_template.context import Operation, RenderContext
from noetl_template.errors import EvaluationError
from noetl_template.filters.text import join_elements
from noetl_template.values import Kind, Placeholder, Value


def default(context: RenderContext, value: Value, other: Value = "") -> Value:
    """Replace undefined and none, but not an empty string."""
    return other if _is_absent(context, value, Kind.UNDEFINED, Kind.NONE) else value


def builtin_default(
    context: RenderContext,
    value: Value,
    other: Value = "",
    lax: Value = False,  # noqa: FBT002 - positional in templates
) -> Value:
    """Replace undefined, and with ``lax`` every falsy value."""
    absent = _is_absent(context, value, Kind.UNDEFINED)
    return other if absent or (lax and not value) else value


def _is_absent(context: RenderContext, value: Value, *kinds: Kind) -> bool:
    if isinstance(value, Placeholder):
        return value.is_absent
    return context.dialect.kind(value) in kinds


def strict_end(position: int) -> Operation:
    """Return the filter for the first or last element; an empty sequence is an error."""

    def end(context: RenderContext, value: Value) -> Value:
        elements = context.dialect.elements(value, context.budget)
        if not elements:
            raise EvaluationError("invalid operation: sequence is empty")
        return elements[position]

    return end


def lenient_end(position: int) -> Operation:
    """Return the filter for the first or last element; for an empty sequence it is undefined."""

    def end(context: RenderContext, value: Value) -> Value:
        if context.dialect.kind(value) not in {Kind.STRING, Kind.SEQUENCE, Kind.MAP}:
            return context.dialect.undefined
        elements = context.dialect.elements(value, context.budget)
        return elements[position] if elements else context.dialect.undefined

    return end


def strict_length(_context: RenderContext, value: Value) -> int:
    length = _length(value)
    if length is None:
        raise EvaluationError("invalid operation: length requires string, sequence, or mapping")
    return length


def lenient_length(_context: RenderContext, value: Value) -> int:
    return _length(value) or 0


def _length(value: Value) -> int | None:
    """Return the length of a value, for a text in bytes."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    return len(value) if isinstance(value, list | Mapping) else None


def count(context: RenderContext, value: Value) -> int:
    """Return the length of a value, for a text in characters."""
    if isinstance(value, str | list | Mapping):
        return len(value)
    kind = context.dialect.kind(value).word
    raise EvaluationError(f"invalid operation: cannot calculate length of value of type {kind}")


def lenient_join(context: RenderContext, value: Value, separator: Value = "") -> str:
    """Join a list; print any other value."""
    if not isinstance(value, list):
        return context.dialect.text(value, context.budget)
    return join_elements(context, value, context.dialect.text(separator, context.budget))
