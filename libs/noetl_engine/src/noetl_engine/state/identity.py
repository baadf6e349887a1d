"""Command and worker of a row, the fingerprint of repetitions, and times as integers."""

import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from noetl_contract.events import EventRow
from noetl_contract.json import Json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COMMAND_NUMBER = re.compile(r":(\d+)(?::i\d+)?$")

# Worker events whose ids are remembered, so that a repetition is recognised without a look-up.
REMEMBERED_EVENTS = 384


@lru_cache(maxsize=256)
def micros(moment: datetime) -> int:
    """Return microseconds since 1970, as notes keep times."""
    return (moment - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=256)
def moment_of(number: int) -> datetime:
    """Return the moment that :func:`micros` gave this number."""
    return _EPOCH + number * _MICROSECOND


def command_id_of(row: EventRow) -> str | None:
    """Return the command id a worker row names, in its payload or its meta."""
    return command_id_in((row.result or {}).get("context"), row.meta)


def command_id_in(*owners: Json) -> str | None:
    """Return the first command id among objects that may hold one."""
    for owner in owners:
        if isinstance(owner, dict):
            command_id = owner.get("command_id")
            if isinstance(command_id, str):
                return command_id
    return None


def command_number(command_id: str) -> int | None:
    """Return the event id inside a command id."""
    found = _COMMAND_NUMBER.search(command_id)
    return int(found[1]) if found else None


def worker_of(row: EventRow) -> str | None:
    """Return the worker id a worker row carries."""
    worker = row.meta.get("worker_id") if isinstance(row.meta, dict) else None
    return worker if isinstance(worker, str) and worker else None


def fingerprint(event_type: str, command_id: str | None, worker_id: str | None) -> int:
    """Return the values that agree when two events with one id are the same event (W3)."""
    return zlib.crc32(f"{event_type}\0{command_id}\0{worker_id}".encode())


def remember(
    recent: dict[int, int], renamed: dict[str, int], row: EventRow, note: Mapping[str, Json]
) -> None:
    """Keep the ids of the newest worker events, late ones marked in the lowest bit."""
    meta = row.meta
    late, worker = False, None
    if isinstance(meta, dict):
        late, worker = meta.get("late") is True, worker_of(row)
    mark = fingerprint(row.event_type, command_id_of(row), worker) << 1 | late
    sent = note.get("sent")
    if sent is not None:
        renamed[f"{sent}:{mark >> 1}"] = row.event_id
        if len(renamed) > REMEMBERED_EVENTS:
            del renamed[next(iter(renamed))]
    recent[row.event_id] = mark
    if len(recent) > REMEMBERED_EVENTS:
        del recent[next(iter(recent))]
