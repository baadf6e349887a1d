"""Notifications read the short way are those that the model reads."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from noetl_contract.commands import CommandNotification, plain_notification
from pydantic import ValidationError

_SENT: dict[str, Any] = {
    "execution_id": 482217234567890123,
    "event_id": 482217234567890456,
    "command_id": "482217234567890123:start:1",
    "step": "start",
    "server_url": "http://s:8082",
    "trace": {"traceparent": "00-1-2-01"},
    "fast": {
        "v": 1,
        "shard": 0,
        "attempts": 2,
        "until": "2026-06-14T10:15:59Z",
        "command": {"action": "noop", "context": {"a": [1]}, "meta": {"b": None}, "more": 1},
        "more": 1,
    },
    "more": 1,
}
_ODD = (None, True, False, 0, 1, 2, 1.0, -5, "", "1", "x", [], [1], {}, {"v": 1})
_PLACES = [
    path
    for path in [
        *((name,) for name in _SENT),
        *(("fast", name) for name in _SENT["fast"]),
        *(("fast", "command", name) for name in _SENT["fast"]["command"]),
    ]
    if "more" not in path
]


def _changed() -> Iterator[Any]:
    yield _SENT
    yield from ([], None, 5, "text")
    for path in _PLACES:
        for value in (*_ODD, KeyError):
            body = deepcopy(_SENT)
            inside = body
            for name in path[:-1]:
                inside = inside[name]
            if value is KeyError:
                del inside[path[-1]]
            else:
                inside[path[-1]] = value
            yield body


def test_what_is_sent_takes_the_short_way() -> None:
    assert plain_notification(_SENT) is not None
    assert plain_notification({**_SENT, "trace": None}) is not None
    assert plain_notification({k: v for k, v in _SENT.items() if k != "trace"}) is not None


@pytest.mark.parametrize("body", [*_changed()])
def test_the_short_way_reads_what_the_model_reads_or_nothing(body: Any) -> None:
    short = plain_notification(body)
    if short is None:
        return

    long = CommandNotification.model_validate(body)
    assert (short, repr(short), short.model_dump()) == (long, repr(long), long.model_dump())
    assert short.model_fields_set == long.model_fields_set
    assert short.fast is not None
    assert long.fast is not None
    assert short.fast.model_fields_set == long.fast.model_fields_set
    assert short.fast.command is not None
    assert long.fast.command is not None
    assert short.fast.command.model_fields_set == long.fast.command.model_fields_set
    with pytest.raises(ValidationError):
        short.step = "another"  # type: ignore[misc]
