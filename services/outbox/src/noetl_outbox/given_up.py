"""Messages that were given up, for operators: dead letters and parked rows of the shard."""

import asyncio

from noetl_bus.broker import Bus
from noetl_bus.consumers.dead_letters import read_dead_letter
from noetl_bus.jetstream import StoredMessage, get_message, stream_info
from noetl_bus.rpc import Handlers, answers
from noetl_contract.http.moments import rfc3339
from noetl_contract.http.system.state import GivenUp, GivenUpList
from noetl_contract.rpc.states import GIVEN_UP, GivenUpQuery
from noetl_contract.streams import DEAD
from noetl_pg.database import Database, Row

_TIMEOUT_SECONDS = 1.0
_MOST_LOOKUPS = 200
"""Maximum number of sequences that one page reads; dropped dead letters leave gaps."""
_COMMAND = "noetl-server dead-letters replay"


class GivenUpHandlers(Handlers):
    """Lists the dead-letter stream and the parked rows of one shard.

    Args:
        shard: number of the shard; it is part of a parked row's name.
    """

    def __init__(self, bus: Bus, database: Database, *, shard: int) -> None:
        self._bus = bus
        self._db = database.with_statements(__package__, "given_up.sql")
        self._shard = shard

    @answers(GIVEN_UP)
    async def on_given_up(self, query: GivenUpQuery) -> GivenUpList:
        """List the newest parked rows and, if requested, the newest dead letters."""
        rows = await self._db.fetch("list_parked_rows", query.limit)
        parked = [_listed_row(row, shard=self._shard) for row in rows]
        if not query.with_letters:
            return GivenUpList(letters=[], total=0, before=None, rows=parked)
        letters, total, before = await self._letters(query)
        return GivenUpList(letters=letters, total=total, before=before, rows=parked)

    async def _letters(self, query: GivenUpQuery) -> tuple[list[GivenUp], int, int | None]:
        """Return a page of dead letters, their total, and the sequence below which to go on."""
        info = await stream_info(self._bus, DEAD.name, seconds=_TIMEOUT_SECONDS)
        if info is None or info.messages == 0:
            return [], 0, None
        number = info.last_sequence
        if query.before is not None:
            number = min(number, query.before - 1)
        last = max(info.first_sequence, number - _MOST_LOOKUPS + 1)
        found: list[GivenUp] = []
        while number >= last and len(found) < query.limit:
            count = min(query.limit - len(found), number - last + 1)
            messages = await asyncio.gather(
                *(
                    get_message(self._bus, DEAD.name, number - place, seconds=_TIMEOUT_SECONDS)
                    for place in range(count)
                )
            )
            found += [_listed_letter(message) for message in messages if message is not None]
            number -= count
        return found, info.messages, number + 1 if number >= info.first_sequence else None


def _listed_letter(message: StoredMessage) -> GivenUp:
    letter = read_dead_letter(message)
    return GivenUp(
        name=str(letter.number),
        subject=letter.subject,
        execution_id=letter.execution_id,
        reason=letter.reason,
        tries=letter.tries,
        given_up_at=rfc3339(letter.given_up_at),
        hindrance=letter.hindrance,
        requeue=None if letter.hindrance else f"{_COMMAND} {letter.number}",
    )


def _listed_row(row: Row, *, shard: int) -> GivenUp:
    name = f"{shard}/{row['outbox_id']}"
    return GivenUp(
        name=name,
        subject=row["subject"] or row["kind"],
        execution_id=row["execution_id"],
        reason=row["last_error"] or "",
        tries=row["attempts"],
        given_up_at=rfc3339(row["updated_at"]),
        hindrance=None,
        requeue=f"{_COMMAND} {name}",
    )
