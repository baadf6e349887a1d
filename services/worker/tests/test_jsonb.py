"""JSON that jsonb takes."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from msgspec import Raw
from noetl_contract.ingress import (
    CommandOutcomeMessage,
    EventsMessage,
    Hold,
    WireEvent,
    decode_message,
)
from noetl_contract.json import Json
from noetl_worker import jsonb
from noetl_worker.interpreters.host.results import NotJson


def test_json_that_no_other_encoder_takes() -> None:
    value = {"big": 1 << 70, "nul": "a\0b", "half": "\ud800"}

    encoded = jsonb.encode(value)

    assert b"\\u0000" not in encoded
    orjson.loads(encoded)
    assert json.loads(encoded) == {
        "big": 1 << 70,
        "nul": "a\ufffdb",
        "half": "\ufffd",
    }


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, Decimal("NaN")]}, "result.a[1] is NaN"),
        ({"big": 1 << 70, "n": float("inf")}, "result.n is Infinity"),
        ({"o": [object()]}, "result.o[0] is a object"),
    ],
)
def test_what_has_no_json_is_refused_with_its_path(value: object, path: str) -> None:
    with pytest.raises(NotJson, match=re.escape(path)):
        jsonb.encode(value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"rows": [{"price": NaN}]}', "result.rows[0].price is NaN"),
        (" [1, -Infinity]", "result[1] is -Infinity"),
        ('{"n": 1e999}', "result.n is Infinity"),
    ],
)
def test_an_answer_with_a_number_that_json_lacks_is_no_text(text: str, path: str) -> None:
    for data in (text, text.encode()):
        with pytest.raises(NotJson, match=re.escape(path)):
            jsonb.parsed(data, text)


@pytest.mark.parametrize("text", ["NaN", "no JSON", "{NaN}", "[" * 100_000, '{"a": NaN', "\xff{"])
def test_what_is_no_json_at_all_is_text(text: str) -> None:
    assert jsonb.parsed(text.encode("latin-1"), text) == text


@pytest.mark.parametrize("other", [1, 1 << 70])
def test_the_look_of_an_escaped_nul_stays(other: int) -> None:
    value = {"other": other, "text": "\\u0000"}

    assert json.loads(jsonb.encode(value)) == value


def test_times_are_written_as_everywhere() -> None:
    at = datetime(2026, 11, 30, 12, tzinfo=UTC)
    event = WireEvent(event_type="call.done", step="s", created_at=at, context={"t": "x\0"})
    message = EventsMessage(execution_id=7, events=[event])

    for body in (jsonb.encode_message(message), jsonb.encode(jsonb.opened(message))):
        assert decode_message(body).events[0].created_at == at
        assert json.loads(body)["events"][0]["created_at"].endswith("Z")


class Label(str):
    """A text that orjson takes and msgspec doesn't."""

    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, "t": "x"},
        {"a": 10**25, "t": "x\0y"},
        {"t": Raw(b'{"n":1.10,"big":10000000000000000000000000}'), "nul": "\0"},
        {"half": "\ud800", "raw": Raw(b"[1]")},
        {"label": Label("x")},
        [Raw(b'"a\\u0000b"')],
    ],
)
def test_a_message_holds_its_values_as_they_are_encoded_alone(value: Json) -> None:
    event = WireEvent(event_type="call.done", step="s", context=value)
    hold = Hold(event_id=1, command_id="c", step="s", attempts=0, worker_id="w", instance="i")
    message = CommandOutcomeMessage(execution_id=7, hold=hold, events=[event])

    body = json.loads(jsonb.encode_message(message))

    assert decode_message(jsonb.encode_message(message)).execution_id == 7
    assert body["type"] == "command.outcome"
    assert body["events"][0]["context"] == json.loads(jsonb.encode(value))


def test_a_message_with_what_has_no_json_is_refused() -> None:
    event = WireEvent(event_type="call.done", step="s", context={"o": object()})

    with pytest.raises(NotJson, match="is a object"):
        jsonb.encode_message(EventsMessage(execution_id=7, events=[event]))
