"""Forms for the workload of a playbook and for the payload of a wait, and their input."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from noetl_contract.http.catalog.entries import UiField
from noetl_contract.json import Json
from noetl_contract.waits.form import Field, Form, typed

from noetl_console.requests import BadField, PageRequest

PREFIX = "field."
"""Of the names of these fields in a page."""

_NUMBERS = {"integer": int, "number": float}
_LARGEST = (1 << 63) - 1
_BOOLEANS = ("true", "false")


@dataclass(frozen=True, slots=True)
class FormField:
    """One field.

    Attributes:
        name: key of the value.
        kind: string, text, date, integer, number, boolean, enum or json.
        label: above the field.
        help: below it.
        value: what it shows at first.
        options: of an enum.
        is_required: whether it may not be empty.
        is_secret: whether what is typed is hidden.
    """

    name: str
    kind: str
    label: str
    help: str
    value: str
    options: Sequence[str]
    is_required: bool
    is_secret: bool


def workload_fields(fields: Sequence[UiField]) -> list[FormField]:
    """Return the fields of the form that a playbook's workload asks for."""
    return [
        FormField(
            name=one.name,
            kind=_workload_kind(one),
            label=one.name,
            help=one.description or "",
            value=_text(one.default, one.kind),
            options=one.options or (),
            is_required=False,
            is_secret=one.secret,
        )
        for one in fields
    ]


def _workload_kind(one: UiField) -> str:
    if one.kind == "string" and isinstance(one.default, str) and "\n" in one.default:
        return "text"  # a field of one line would lose the others
    return one.kind if one.kind in {"string", "boolean", "enum", *_NUMBERS} else "json"


def wait_fields(form: Form) -> list[FormField]:
    """Return the fields of the form of a wait."""
    return [
        FormField(
            name=one.name,
            kind=_wait_kind(one),
            label=one.shown,
            help=one.description,
            value=_text(one.default, one.type),
            options=[_text(choice, one.type) for choice in one.choices] or _BOOLEANS,
            is_required=one.is_required,
            is_secret=False,
        )
        for one in form
    ]


def _wait_kind(one: Field) -> str:
    return "enum" if one.choices or one.type == "boolean" else one.type


def typed_payload(form: Form, request: PageRequest) -> dict[str, Json]:
    """Return the input of the form of a wait; the API checks whether it fits."""
    values = {one.name: typed(one, request.field(f"{PREFIX}{one.name}")) for one in form}
    return {name: value for name, value in values.items() if value is not None}


def typed_values(fields: Sequence[FormField], request: PageRequest) -> dict[str, Json]:
    """Return the values that were typed, without those that were left as they are shown.

    Raises:
        BadField: a value is none of its field's kind.
    """
    found: dict[str, Json] = {}
    for one in fields:
        name = f"{PREFIX}{one.name}"
        text = request.field(name)
        if one.kind == "boolean":
            if (text == "true") != (one.value == "true") or one.is_required:
                found[one.name] = text == "true"
        elif text == "" and one.is_required:
            raise BadField(f"{one.label}: a value is needed")
        elif text != one.value or one.is_required:
            found[one.name] = _value(one, text)
    return found


def _value(one: FormField, text: str) -> Json:
    if one.kind == "enum" and text not in one.options:
        raise BadField(f"{one.label}: {text!r} is none of {', '.join(one.options)}")
    if one.kind in _NUMBERS:
        try:
            number = _NUMBERS[one.kind](text)
        except ValueError as error:
            raise BadField(f"{one.label}: {text[:50]!r} is no {one.kind}") from error
        if not -_LARGEST - 1 <= number <= _LARGEST and one.kind == "integer":
            raise BadField(f"{one.label}: {text[:50]!r} is too large")
        if not math.isfinite(number):
            raise BadField(f"{one.label}: {text[:50]!r} is no number")
        return number
    return json_value(text, label=one.label) if one.kind == "json" else text


def json_value(text: str, *, label: str) -> Json:
    """Return the value of a JSON text.

    Raises:
        BadField: it is none.
    """
    try:
        value: Json = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadField(f"{label}: no JSON ({error})") from error
    return value


def json_object(text: str, *, label: str) -> Mapping[str, Json]:
    """Return the object of a JSON text; of an empty one an empty one.

    Raises:
        BadField: it is none.
    """
    if not text.strip():
        return {}
    value = json_value(text, label=label)
    if not isinstance(value, dict):
        raise BadField(f"{label}: an object is needed")
    return value


def _text(value: Json, kind: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and kind in {"string", "text", "enum"}:
        return value
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
