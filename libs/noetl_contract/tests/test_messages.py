"""Messages of streams and hints."""

import re
from datetime import UTC, datetime
from functools import partial
from typing import Any, get_args

import orjson
import pytest
from msgspec import Raw
from noetl_contract import message_ids
from noetl_contract.events import EventRow, event_message
from noetl_contract.ingress import (
    DEADLINE_HEADER,
    CancelMessage,
    CommandOutcomeMessage,
    CommandStartMessage,
    EventsMessage,
    ExecuteMessage,
    FinalizeMessage,
    Hold,
    IngressMessage,
    PauseMessage,
    ResumeMessage,
    SignalMessage,
    WireEvent,
    deadline_of,
    decode_message,
    encode_message,
    kind_of,
)
from noetl_contract.subjects import IngressKind


@pytest.mark.parametrize(
    "message",
    [
        CancelMessage(execution_id=7, reason="no"),
        ExecuteMessage(execution_id=7, catalog_id=1, path="a", version=1, payload={"n": 1 << 70}),
        EventsMessage(
            execution_id=7,
            events=[
                WireEvent(
                    event_type="call.done",
                    step="a",
                    context={"deep": [None]},
                    created_at=datetime(2026, 6, 15, 12, tzinfo=UTC),
                )
            ],
        ),
    ],
)
def test_an_encoded_message_is_read_as_it_was(message) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    assert decode_message(encode_message(message)) == message


def test_a_field_with_its_default_is_not_sent() -> None:
    message = CancelMessage(execution_id=7)

    assert orjson.loads(encode_message(message)) == {"type": "cancel", "execution_id": 7}


def _nested(levels: int) -> bytes:
    value = b"[" * levels + b"]" * levels
    return b'{"type":"signal","execution_id":7,"name":"n","signal_id":"1","payload":%b}' % value


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"[]", "Expected `object`"),
        (b'{"execution_id":7}', "missing required field `type`"),
        (b'{"type":"dance","execution_id":7}', "Invalid value 'dance'"),
        (
            b'{"type":"cancel","execution_id":"7"}',
            "Expected `int`, got `str` - at `$.execution_id`",
        ),
        (b'{"type":"cancel"}', "missing required field `execution_id`"),
        (b'{"type":"cancel","execution_id":7', "truncated"),
        *((_nested(levels), "ecursion limit") for levels in (201, 600, 1500, 6000)),
        (_nested(100_000), "nested too deep"),
    ],
)
def test_what_is_no_message_is_named(body: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        decode_message(body)


_FORMS = [
    (
        b'{"type":"execute","v":1,"execution_id":7,"catalog_id":1,"path":"a","version":1,'
        b'"payload":{},"parent_execution_id":null,"execution_pool":null,"trace":null,'
        b'"dedup_key":null,"dedup_window_seconds":300,"dedup_scope":null,"idempotency_key":null,'
        b'"owner":null,"actor":null,"namespace":null,"root_execution_id":null,"depth":0,'
        b'"restart":null,"after":{"execution_id":6,"trigger":"t","handles":["t"],'
        b'"is_trigger":false},"timeout_seconds":null,"plugins":null}'
    ),
    (
        b'{"type":"events","v":1,"execution_id":7,"events":[{"event_type":"call.done","step":"s",'
        b'"event_id":9,"status":"COMPLETED","context":{"a":[1.5]},"meta":null,"worker_id":"w",'
        b'"result_kind":"data","result_uri":null,"event_ids":null,"actionable":true,'
        b'"informative":true,"created_at":"2026-06-15T12:00:00+00:00"}],"batch":false,'
        b'"worker_id":null,"idempotency_key":null}'
    ),
    (
        b'{"type":"command.outcome","v":1,"execution_id":7,"hold":{"event_id":1,"command_id":"c",'
        b'"step":"s","attempts":0,"worker_id":"w","instance":"i","fence":"f"},"events":[{'
        b'"event_type":"command.completed","step":"s","status":"success",'
        b'"created_at":"2026-06-15T12:00:00.000100Z","context":{"command_id":"c"},"event_id":3,'
        b'"worker_id":"w","meta":{"attempts":0}}]}'
    ),
    (
        b'{"type":"cancel","v":1,"execution_id":7,"reason":null,"cascade":false,"by_parent":true,'
        b'"actor":null}'
    ),
]


@pytest.mark.parametrize("body", _FORMS)
def test_a_message_is_read_whole(body: bytes) -> None:
    message = decode_message(body)
    sent = orjson.loads(encode_message(message))
    before = _without_defaults(orjson.loads(body))

    assert _without_defaults(sent) == before
    assert decode_message(encode_message(message)) == message


def _without_defaults(value: Any) -> Any:
    """Leave out what is taken for granted."""
    granted = {"v": 1, "payload": {}, "depth": 0, "dedup_window_seconds": 300, "batch": False}
    granted |= {"result_kind": "data", "actionable": True, "informative": True}
    granted |= {"cascade": False, "is_trigger": False}
    match value:
        case dict():
            return {
                key: _time(_without_defaults(item))
                for key, item in value.items()
                if item is not None and (key not in granted or item != granted[key])
            }
        case list():
            return [_without_defaults(item) for item in value]
        case _:
            return value


def _time(value: Any) -> Any:
    return value.replace("+00:00", "Z") if isinstance(value, str) else value


def test_every_kind_has_a_message_and_every_message_a_kind() -> None:
    kinds = [kind_of(form(**_REQUIRED[form])) for form in get_args(IngressMessage.__value__)]

    assert sorted(kinds) == sorted(get_args(IngressKind.__value__))


_EVENTS: list[WireEvent] = []
_HOLD = Hold(event_id=1, command_id="c", step="s", attempts=0, worker_id="w", instance="i")
_REQUIRED: dict[Any, dict[str, Any]] = {
    ExecuteMessage: {"execution_id": 7, "catalog_id": 1, "path": "a", "version": 1},
    EventsMessage: {"execution_id": 7, "events": _EVENTS},
    CancelMessage: {"execution_id": 7},
    FinalizeMessage: {"execution_id": 7, "status": "FAILED"},
    SignalMessage: {"execution_id": 7, "name": "go", "signal_id": "1"},
    PauseMessage: {"execution_id": 7},
    ResumeMessage: {"execution_id": 7},
    CommandStartMessage: {"execution_id": 7, "hold": _HOLD, "events": _EVENTS},
    CommandOutcomeMessage: {"execution_id": 7, "hold": _HOLD, "events": _EVENTS},
}


def test_json_that_is_encoded_already_travels_unchanged() -> None:
    payload = {"body": Raw(b'{"n":1.10}')}
    message = ExecuteMessage(execution_id=7, catalog_id=1, path="a", version=1, payload=payload)

    assert b'{"body":{"n":1.10}}' in encode_message(message)


def test_columns_that_are_encoded_already_go_into_the_message() -> None:
    row = EventRow(
        execution_id=7,
        position=3,
        event_id=9,
        event_type="command.issued",
        created_at=datetime(2026, 6, 15, 12, tzinfo=UTC),
        catalog_id=1,
        result={"a": 1},
        context={"b": 2},
    )
    plain = orjson.dumps(event_message(row))
    texts = {"result": '{"a":1}', "context": '{"b":2}', "meta": None}

    assert orjson.dumps(event_message(row, texts=texts)) == plain


def test_a_first_start_has_the_same_id_for_all_workers() -> None:
    report_id = partial(message_ids.report_id, event_id=9, attempts=0, instance="a")

    assert (report_id("start"), report_id("start", tries=1)) == ("s:9:0", "s:9:0:a:1")
    assert (report_id("outcome"), report_id("outcome", tries=2)) == ("o:9:0:a", "o:9:0:a:2")


def test_a_repetition_of_a_command_has_an_id_of_its_own() -> None:
    assert message_ids.command_id(9, holds=1) == "c:9:1"
    assert message_ids.command_id(9, holds=1, repetition=2) == "c:9:1:n2"


def test_an_illegible_deadline_is_none() -> None:
    assert deadline_of({DEADLINE_HEADER: "soon"}) is None
    assert deadline_of({DEADLINE_HEADER: "17"}) == 17
