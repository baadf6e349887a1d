"""Forms and the payloads that fit them."""

from typing import Any

import pytest
from noetl_contract.waits.form import (
    BadForm,
    BadPayload,
    field_names,
    filled,
    in_order,
    read_form,
    typed,
)

FORM = {
    "decision": {"type": "string", "enum": ["approve", "reject"], "required": True},
    "amount": {"type": "number", "minimum": 0, "maximum": 10, "default": 1},
    "count": "integer",
    "on": {"type": "date"},
    "sure": {"type": "boolean"},
    "why": {"type": "text", "maxLength": 5},
}


def problems(payload: Any, form: Any = FORM) -> dict[str, str]:
    with pytest.raises(BadPayload) as caught:
        filled(read_form(form), payload)
    return caught.value.problems


def test_a_payload_gets_its_defaults() -> None:
    assert filled(read_form(FORM), {"decision": "approve"}) == {"decision": "approve", "amount": 1}


def test_without_a_form_everything_fits() -> None:
    assert filled(read_form(None), [1]) == [1]


def test_a_json_schema_is_a_form() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert problems({}, schema) == {"a": "it is required"}


@pytest.mark.parametrize(
    ("payload", "field", "text"),
    [
        ({}, "decision", "it is required"),
        ({"decision": "maybe"}, "decision", "it must be one of approve, reject"),
        ({"decision": 1}, "decision", "it must be a text"),
        ({"amount": 11}, "amount", "it must be at most 10"),
        ({"amount": -1}, "amount", "it must be at least 0"),
        ({"amount": True}, "amount", "it must be a number"),
        ({"amount": float("inf")}, "amount", "it must be a number"),
        ({"count": 1.5}, "count", "it must be a whole number"),
        ({"on": "31.1.2030"}, "on", "it must be a date like 2030-01-31"),
        ({"sure": "yes"}, "sure", "it must be true or false"),
        ({"why": "because"}, "why", "it must be at most 5 characters"),
        ({"who": 1}, "who", "the form has no such field"),
        ([], "payload", "it must be an object with the fields of the form"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(payload: Any, field: str, text: str) -> None:
    assert problems(payload)[field] == text


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ([], "form must be a mapping"),
        ({"a": 1}, "form.a must be a mapping with a type"),
        ({"a": {"type": "colour"}}, "form.a.type must be one of string"),
        ({"a": {"typo": 1}}, "form.a has an unknown key 'typo'"),
        ({"a": {"type": "integer", "default": "x"}}, "form.a: 'x' doesn't fit"),
        ({"a": {"enum": "x"}}, "form.a.enum must be a list"),
        ({"a": {"minimum": "x"}}, None),
        ({"a": {"type": "number", "minimum": "x"}}, "form.a.minimum must be a number"),
        ({str(number): "string" for number in range(51)}, "form has 51 fields"),
        ({"properties": {}, "required": 1}, "form.required must be a list"),
    ],
)  # fmt: skip
def test_bad_forms(form: Any, text: str | None) -> None:
    if text is None:
        read_form(form)
        return
    with pytest.raises(BadForm, match=text):
        read_form(form)


def test_what_people_type() -> None:
    fields = {field.name: field for field in read_form(FORM)}
    assert typed(fields["decision"], " approve ") == "approve"
    assert typed(fields["amount"], "2.5") == 2.5
    assert typed(fields["count"], "3") == 3
    assert typed(fields["count"], "three") == "three"
    assert typed(fields["sure"], "Yes") is True
    assert typed(fields["sure"], "n") is False
    assert typed(fields["sure"], "perhaps") == "perhaps"
    assert typed(fields["why"], "") is None
    assert typed(fields["why"], "a\nb ") == "a\nb "


@pytest.mark.parametrize("is_schema", [False, True])
def test_a_stored_form_gets_its_order_back(*, is_schema: bool) -> None:
    fields = {"decision": {"type": "string"}, "note": {"type": "text"}, "a": {"type": "date"}}
    form: Any = {"properties": fields, "required": ["a"]} if is_schema else fields
    shuffled = dict(sorted(fields.items()))
    stored: Any = {"properties": shuffled} if is_schema else shuffled

    names = field_names(form)

    assert names == ["decision", "note", "a"]
    assert field_names(in_order(stored, names)) == names
    assert field_names(in_order(stored, ["note", 5, "gone"])) == ["note", "a", "decision"]
    assert in_order(stored, None) == stored
    assert in_order("{{ form }}", names) == "{{ form }}"
    assert field_names(None) == []
