"""Dead letters in the broker's stream: read, put back, dropped."""

import json
from datetime import UTC, datetime

from noetl_bus.broker import Bus
from noetl_bus.consumers.dead_letters import OURS, headers_of, read_dead_letter
from noetl_bus.jetstream import StoredMessage, delete_message, get_message
from noetl_contract.ingress import DEADLINE_HEADER, REPLY_HEADER
from noetl_contract.json import Json
from noetl_contract.message_ids import replay_id
from noetl_contract.sharding import shard_for
from noetl_contract.streams import DEAD
from noetl_contract.subjects import DEAD_LETTERS

from noetl.letters.letter import Letter, Page
from noetl.stack.errors import StackError

MOST_LOOKED_AT = 5_000
"""Letters that one page may pass over because they belong to other executions."""
# What the sender waited for is over; the broker's own would have an effect of their own.
_LEFT_OUT = frozenset({REPLY_HEADER, DEADLINE_HEADER})


async def list_letters(bus: Bus, *, after: int, limit: int, execution: int | None) -> Page:
    """Return the letters behind a number, of one execution if it is named.

    Raises:
        NoetlError: the broker doesn't answer.
    """
    found: list[Letter] = []
    for _ in range(MOST_LOOKED_AT):
        if len(found) == limit:
            break
        message = await get_message(bus, DEAD.name, after + 1, next_of=f"{DEAD_LETTERS}.>")
        if message is None:
            return Page(found, None)
        after = message.sequence
        letter = _letter(message, with_body=False)
        if execution in {None, letter.execution_id}:
            found.append(letter)
    return Page(found, str(after))


async def read_letter(bus: Bus, number: int) -> Letter:
    """Return a letter with its body.

    Raises:
        StackError: there is none of this number.
        NoetlError: the broker doesn't answer.
    """
    return _letter(await _message(bus, number), with_body=True)


async def replay_letter(bus: Bus, number: int, *, shards: int) -> Letter:
    """Put the original back onto its subject, then drop the letter.

    A kill between the two leaves the letter. Replayed again within the broker's window it is one
    message; later ones are the repetitions that each reader takes for what they are.

    Args:
        bus: with a login that may publish there.
        number: of the letter.
        shards: by which subjects are divided today.

    Raises:
        StackError: there is none of this number, or it can't be replayed.
        NoetlError: the broker doesn't answer; the letter is still there.
    """
    message = await _message(bus, number)
    letter = _letter(message, with_body=False)
    if letter.subject is None or letter.hindrance is not None:
        raise StackError(f"{number} can't be replayed: {letter.hindrance}")
    headers = {
        name: text
        for name, text in headers_of(message).items()
        if not name.startswith(("Nats-", OURS)) and name not in _LEFT_OUT
    }
    await bus.publish(
        _subject_today(letter.subject, letter.execution_id, shards),
        message.data,
        message_id=replay_id(message.message_id or f"{number}", number=number),
        headers=headers,
    )
    await delete_message(bus, DEAD.name, number)
    return letter


async def drop_letter(bus: Bus, number: int) -> None:
    """Delete a letter for good.

    Raises:
        StackError: there is none of this number.
        NoetlError: the broker doesn't answer.
    """
    if not await delete_message(bus, DEAD.name, number):
        raise _unknown(number)


async def _message(bus: Bus, number: int) -> StoredMessage:
    message = await get_message(bus, DEAD.name, number)
    if message is None:
        raise _unknown(number)
    return message


def _unknown(number: int) -> StackError:
    return StackError(f"there is no dead letter {number}: it was replayed, dropped, or is too old")


def _letter(message: StoredMessage, *, with_body: bool) -> Letter:
    read = read_dead_letter(message)
    return Letter(
        name=str(read.number),
        subject=read.subject,
        execution_id=read.execution_id,
        reason=read.reason,
        tries=read.tries,
        first_at=_first_at(message.message_id),
        last_at=read.given_up_at,
        hindrance=read.hindrance,
        body=_body(message.data) if with_body else None,
    )


def _subject_today(subject: str, execution_id: int | None, shards: int) -> str:
    """Return the subject by the shards of today; the original may be older than their number."""
    if execution_id is None:
        return subject
    root, _, *rest = subject.split(".")
    return ".".join((root, str(shard_for(execution_id, shard_count=shards)), *rest))


def _first_at(message_id: str | None) -> datetime | None:
    """Return when the original was stored, which the id of the letter ends with."""
    nanoseconds = (message_id or "").rpartition(":")[2]
    if not nanoseconds.isdecimal() or len(nanoseconds) < len("1000000000000000000"):
        return None
    return datetime.fromtimestamp(int(nanoseconds) / 1e9, UTC)


def _body(data: bytes) -> Json:
    try:
        body: Json = json.loads(data)
    except ValueError:
        return data.decode(errors="replace")
    return body
