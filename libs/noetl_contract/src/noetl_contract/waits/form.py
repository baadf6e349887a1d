"""Forms: the fields that the payload of a signal has to have.

A form is a mapping of fields, or a JSON Schema of an object with ``properties`` and ``required``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from noetl_contract.json import Json, JsonObject

FIELD_TYPES: Final = ("string", "text", "number", "integer", "boolean", "date")
MOST_FIELDS: Final = 50
MOST_CHOICES: Final = 200
MOST_TEXT: Final = 10_000
_TEXTS: Final = frozenset({"string", "text"})
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "y", "1", "on"), True),
    **dict.fromkeys(("false", "no", "n", "0", "off"), False),
}
_KEYS: Final = frozenset(
    {"type", "title", "description", "required", "default", "enum", "choices", "minimum"}
    | {"maximum", "minLength", "maxLength"}
)


class BadForm(ValueError):
    """A form is invalid; the text names the field."""


class BadPayload(ValueError):
    """A payload that doesn't fit its form.

    Attributes:
        problems: texts by field.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in problems.items()))
        self.problems = dict(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a form.

    Attributes:
        name: key in the payload.
        type: one of `FIELD_TYPES`; ``text`` has several lines, ``date`` is ``YYYY-MM-DD``.
        title: what people read; the name if there is none.
        description: a sentence more.
        is_required: whether a payload without it is refused; a default stands in.
        default: value of an absent field.
        choices: the values that are taken; all where there are none.
        lowest: smallest number, or shortest text.
        highest: largest number, or longest text.
    """

    name: str
    type: str = "string"
    title: str = ""
    description: str = ""
    is_required: bool = False
    default: Json = None
    choices: Sequence[Json] = ()
    lowest: float | None = None
    highest: float | None = None

    @property
    def shown(self) -> str:
        """The label of the field."""
        return self.title or self.name


type Form = Sequence[Field]


def read_form(value: Json) -> Form:
    """Return the fields of a form, in their order; none for null.

    Raises:
        BadForm: It is none.
    """
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise BadForm("form must be a mapping of fields")
    required: Json = ()
    if isinstance(value.get("properties"), dict):
        value, required = value["properties"], value.get("required") or ()
        if not isinstance(required, list | tuple):
            raise BadForm("form.required must be a list of fields")
    if len(value) > MOST_FIELDS:
        raise BadForm(f"form has {len(value)} fields, the limit is {MOST_FIELDS}")
    return [_field(name, field, is_required=name in required) for name, field in value.items()]


def field_names(value: Json) -> list[str]:
    """Return the names of a form's fields in their order, which a stored object loses."""
    return [] if value is None else [field.name for field in read_form(value)]


def in_order(value: Json, names: Json) -> Json:
    """Return a form as it was stored, with its fields in the order of these names again.

    Fields that are not among them come last; any other value stays as it is.
    """
    if not isinstance(value, dict) or not isinstance(names, list):
        return value
    if isinstance(value.get("properties"), dict):
        return {**value, "properties": in_order(value["properties"], names)}
    first = {name: value[name] for name in names if isinstance(name, str) and name in value}
    return first | value


def filled(form: Form, payload: Json) -> Json:
    """Return the payload with the form's defaults; without a form the payload is unchanged.

    Raises:
        BadPayload: A field is missing, unknown or wrong.
    """
    if not form:
        return payload
    if payload is None:
        payload = {}
    if not isinstance(payload, dict):
        raise BadPayload({"payload": "it must be an object with the fields of the form"})
    known = {field.name for field in form}
    problems = {name[:100]: "the form has no such field" for name in payload if name not in known}
    values: JsonObject = {}
    for field in form:
        value = _given(field, payload.get(field.name))
        wrong = _wrong_or_missing(field, value)
        if wrong is not None:
            problems[field.name] = wrong
        elif value is not None:
            values[field.name] = value
    if problems:
        raise BadPayload(problems)
    return values


def _given(field: Field, value: Json) -> Json:
    is_empty = value is None or (value == "" and field.type not in _TEXTS)
    return field.default if is_empty else value


def _wrong_or_missing(field: Field, value: Json) -> str | None:
    if value is None:
        return "it is required" if field.is_required else None
    return _wrong(field, value)


def typed(field: Field, text: str) -> Json:
    """Return what a person typed or chose as the field's value; an empty text is none.

    Text that can't be the value stays text, which `filled` then refuses.
    """
    said = text.strip()
    if not said:
        return None
    for choice in field.choices:
        if said == _text_of(choice):
            return choice
    match field.type:
        case "boolean":
            return _BOOLEANS.get(said.lower(), said)
        case "number" | "integer":
            return _number(said)
        case "text":
            return text
    return said


def _number(said: str) -> Json:
    try:
        number = float(said)
    except ValueError:
        return said
    is_whole = math.isfinite(number) and number.is_integer() and abs(number) < 1 << 53
    return int(number) if is_whole else number


def _field(name: str, value: Json, *, is_required: bool) -> Field:
    if isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, dict):
        raise BadForm(f"form.{name} must be a mapping with a type")
    strange = sorted(set(value) - _KEYS)
    if strange:
        raise BadForm(f"form.{name} has an unknown key '{strange[0][:50]}'")
    kind = value.get("type", "string")
    if kind not in FIELD_TYPES:
        words = ", ".join(FIELD_TYPES)
        raise BadForm(f"form.{name}.type must be one of {words}, not '{str(kind)[:50]}'")
    choices = value.get("enum", value.get("choices")) or ()
    if not isinstance(choices, list | tuple) or len(choices) > MOST_CHOICES:
        raise BadForm(f"form.{name}.enum must be a list of at most {MOST_CHOICES} values")
    of_text = kind in _TEXTS
    field = Field(
        name=name,
        type=kind,
        title=_text(name, value, "title"),
        description=_text(name, value, "description"),
        is_required=is_required or value.get("required") is True,
        default=value.get("default"),
        choices=tuple(choices),
        lowest=_bound(name, value, "minLength" if of_text else "minimum"),
        highest=_bound(name, value, "maxLength" if of_text else "maximum"),
    )
    for one in _values(field):
        wrong = _wrong(field, one)
        if wrong is not None:
            raise BadForm(f"form.{name}: '{_text_of(one)[:50]}' doesn't fit: {wrong}")
    return field


def _values(field: Field) -> Iterator[Json]:
    yield from field.choices
    if field.default is not None:
        yield field.default


def _text(name: str, value: JsonObject, key: str) -> str:
    text = value.get(key) or ""
    if not isinstance(text, str) or len(text) > MOST_TEXT:
        raise BadForm(f"form.{name}.{key} must be a text")
    return text


def _bound(name: str, value: JsonObject, key: str) -> float | None:
    bound = value.get(key)
    if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
        raise BadForm(f"form.{name}.{key} must be a number")
    return bound


def _wrong(field: Field, value: Json) -> str | None:
    """Return the problem with a value; None when it fits."""
    wrong = _wrong_type(field, value)
    if wrong is not None:
        return wrong
    if field.choices and not any(_is_same(value, choice) for choice in field.choices):
        choices = ", ".join(_text_of(choice)[:50] for choice in field.choices[:20])
        return f"it must be one of {choices}"
    if isinstance(value, bool) or field.type == "date":
        return None
    size, what = (len(value), " characters") if isinstance(value, str) else (value, "")
    if field.lowest is not None and size < field.lowest:
        return f"it must be at least {field.lowest:g}{what}"
    if field.highest is not None and size > field.highest:
        return f"it must be at most {field.highest:g}{what}"
    return None


def _wrong_type(field: Field, value: Json) -> str | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match field.type:
        case "boolean":
            return None if isinstance(value, bool) else "it must be true or false"
        case "integer":
            is_whole = is_number and (isinstance(value, int) or value.is_integer())
            return None if is_whole else "it must be a whole number"
        case "number":
            is_finite = is_number and (isinstance(value, int) or math.isfinite(value))
            return None if is_finite else "it must be a number"
        case "date":
            return None if _is_date(value) else "it must be a date like 2030-01-31"
    return None if isinstance(value, str) else "it must be a text"


def _is_date(value: Json) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _is_same(value: Json, choice: Json) -> bool:
    return value == choice and isinstance(value, bool) == isinstance(choice, bool)


def _text_of(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
