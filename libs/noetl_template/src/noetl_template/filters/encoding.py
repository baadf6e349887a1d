"""JSON and base64."""

import base64
import binascii

import orjson

from noetl_template.context import RenderContext
from noetl_template.errors import EvaluationError
from noetl_template.values import INT64_MAX, INT64_MIN, Value, float_text


def exact_json(context: RenderContext, value: Value) -> str:
    """Return the worker's ``tojson``."""
    return _dump_json(context.dialect.json_ready(value, context.budget))


def textual_json(context: RenderContext, value: Value) -> str:
    """Return the server's ``tojson``."""
    ready = context.dialect.json_ready(value, context.budget)
    return _dump_json(with_textual_floats(ready))


def with_textual_floats(value: Value) -> Value:  # noqa: PLR0911 - one return per type
    """Return a value with floats like in the server's ``tojson``.

    Whole floats become integers, and other floats become strings.
    """
    match value:
        case bool():
            return value
        case float():
            if value.is_integer() and INT64_MIN <= value <= INT64_MAX:
                return int(value)
            return float_text(value)
        case int() if not INT64_MIN <= value <= INT64_MAX:
            return str(value)
        case list():
            return [with_textual_floats(element) for element in value]
        case dict():
            return {key: with_textual_floats(entry) for key, entry in value.items()}
        case _:
            return value


def strict_from_json(context: RenderContext, value: Value) -> Value:
    try:
        return _parsed(context, value)
    except ValueError as error:
        raise EvaluationError(f"fromjson error: {error}") from error


def lenient_from_json(context: RenderContext, value: Value) -> Value:
    try:
        return _parsed(context, value)
    except ValueError:
        return None


def _parsed(context: RenderContext, value: Value) -> Value:
    text = context.dialect.text(value, context.budget)
    # In the worst case, every two characters become a list.
    context.budget.visit(len(text) // 2)
    return orjson.loads(text)


def encode_base64(context: RenderContext, value: Value) -> str:
    return base64.b64encode(context.dialect.text(value, context.budget).encode()).decode("ascii")


def decode_base64(context: RenderContext, value: Value) -> str:
    try:
        text = context.dialect.text(value, context.budget)
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise EvaluationError(f"b64decode error: {error}") from error


def _dump_json(value: Value) -> str:
    """Return compact JSON with sorted keys."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except (TypeError, ValueError) as error:
        raise EvaluationError("this value has no JSON form") from error
