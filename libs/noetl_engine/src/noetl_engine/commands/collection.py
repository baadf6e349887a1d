"""Turn a loop's rendered `in` into the list of its elements, or refuse it."""

import orjson
from noetl_contract.json import Json

from noetl_engine.errors import EvaluateError

# Elements made of a number: beyond this a typing error is more likely than a wish.
MAX_COUNT = 1_000_000
_TYPE_WORDS = {
    type(None): "null", bool: "bool", int: "number", float: "number", str: "string", list: "array",
}  # fmt: skip


def type_word(value: Json) -> str:
    """Return the JSON type of a value, as refusals of a start spell it."""
    return _TYPE_WORDS.get(type(value), "object")


def elements_of(value: Json, *, expression: str) -> list[Json]:
    """Return the elements of a rendered ``in``.

    Raises:
        EvaluateError: It can't be iterated over.
    """
    match value:
        case list():
            return value
        case dict():
            return [{"key": key, "value": value[key]} for key in sorted(value)]
        case str():
            return _parts(value)
        case int() if not isinstance(value, bool):
            if value > MAX_COUNT:
                raise EvaluateError(f"loop over {value} elements: the limit is {MAX_COUNT}")
            return list(range(value))
        case float():
            return []
        case _:
            raise EvaluateError(
                f"Loop expression did not evaluate to an iterable: {expression} "
                f"(got {type_word(value)})"
            )


def _parts(text: str) -> list[Json]:
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        parsed = None
    if isinstance(parsed, list):
        return parsed
    parts = (part.strip() for part in text.replace("\n", ",").split(","))
    return [part for part in parts if part]
