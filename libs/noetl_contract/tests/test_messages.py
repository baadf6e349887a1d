"""Messages of streams and hints."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
import pytest
from noetl_contract import message_ids
from noetl_contract.commands import (
    CommandMessage,
    CommandNotification,
    FastCommand,
    FastCommandBody,
    FastPath,
    FastPathBody,
)
from noetl_contract.events import EventRow, event_message
from noetl_contract.ingress import (
    DEADLINE_HEADER,
    INGRESS,
    CancelMessage,
    CommandMessageFields,
    CommandOutcomeMessage,
    CommandStartMessage,
    EventFields,
    EventsMessage,
    ExecuteMessage,
    Hold,
    HoldFields,
    WireEvent,
    deadline_of,
    encode_message,
)


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
    assert INGRESS.validate_json(encode_message(message)) == message


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (HoldFields, Hold),
        (CommandMessageFields, CommandStartMessage),
        (CommandMessageFields, CommandOutcomeMessage),
    ],
)
def test_a_worker_writes_the_fields_that_are_read(written: Any, read: Any) -> None:
    required = {name for name, field in read.model_fields.items() if field.is_required()}

    assert required <= written.__required_keys__
    assert written.__annotations__.keys() == read.model_fields.keys()


def test_a_worker_writes_only_fields_of_events() -> None:
    required = {name for name, field in WireEvent.model_fields.items() if field.is_required()}

    assert required <= EventFields.__required_keys__ <= WireEvent.model_fields.keys()


def test_json_that_is_encoded_already_travels_unchanged() -> None:
    message = ExecuteMessage.model_construct(
        execution_id=7, payload={"body": orjson.Fragment(b'{"n":1.10}')}
    )

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


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (CommandMessage, CommandNotification),
        (FastPathBody, FastPath),
        (FastCommandBody, FastCommand),
    ],
)
def test_what_is_sent_of_a_command_has_the_keys_that_are_read(sent: type, read: type) -> None:
    assert list(sent.__annotations__) == list(read.__annotations__)
