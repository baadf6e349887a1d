"""The payload of a firing: the one of the schedule's document, with the times put in."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import orjson
from noetl_contract.json import texts_in
from noetl_template import (
    TemplateError,
    has_server_syntax,
    references,
    render_expression,
    shared_work,
)

from noetl_engine.playbook.model import Value
from noetl_engine.schedule.model import Schedule
from noetl_engine.schedule.times import Times

NAMES: Final = ("scheduled_at", "previous_at", "next_at", "schedule")
"""Names that templates of a payload see."""
LARGEST_PAYLOAD_BYTES: Final = 64 << 10
_MOST_WORK: Final = 20_000


class PayloadError(Exception):
    """A payload can't be made; the text says why."""


def payload_problems(payload: Value) -> Iterator[str]:
    """Yield the problems of the templates of a payload."""
    for text in filter(has_server_syntax, texts_in([payload])):
        try:
            found = references(text, by_worker=False)
        except TemplateError as error:
            yield error.problem
            continue
        for reference in found:
            if reference.path[0] not in NAMES and not reference.is_guarded:
                yield f"'{reference.path[0]}' is none of {', '.join(NAMES)}"


def render_payload(
    schedule: Schedule, times: Times, *, path: str, moment: datetime
) -> dict[str, Value]:
    """Return the payload of the firing of a moment.

    The times are RFC 3339 in the schedule's zone. Texts without a template stay as they are.

    Args:
        schedule: The schedule.
        times: Its times.
        path: Its catalog path.
        moment: The time of the firing.

    Raises:
        PayloadError: A template fails or is too expensive, or the payload is too large.
    """
    scope: dict[str, Value] = {
        "scheduled_at": _text(times, moment),
        "previous_at": _text(times, times.previous_before(moment)),
        "next_at": _text(times, times.next_after(moment)),
        "schedule": path,
    }
    try:
        with shared_work(_MOST_WORK):
            made = {name: _rendered(value, scope) for name, value in schedule.payload.items()}
    except TemplateError as error:
        raise PayloadError(f"the payload can't be rendered: {error.problem}") from error
    if (size := len(orjson.dumps(made))) > LARGEST_PAYLOAD_BYTES:
        raise PayloadError(f"the payload has {size} bytes, the limit is {LARGEST_PAYLOAD_BYTES}")
    return made


def _text(times: Times, moment: datetime | None) -> str | None:
    return None if moment is None else times.local(moment).isoformat()


def _rendered(value: Value, scope: Mapping[str, Value]) -> Value:
    match value:
        case str() if has_server_syntax(value):
            return render_expression(value, scope)
        case list():
            return [_rendered(item, scope) for item in value]
        case dict():
            return {name: _rendered(item, scope) for name, item in value.items()}
        case _:
            return value
