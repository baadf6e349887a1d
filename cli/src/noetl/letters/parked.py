"""Rows of the outbox that were given up: read, taken up again, dropped."""

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from noetl_common.logging import masked
from noetl_common.shards import DatabaseAddress
from noetl_contract.json import Json
from noetl_pg.database import Database, Row
from noetl_pg.single import open_single
from noetl_pg.sql.queries import Queries

from noetl.letters.letter import Letter, Page
from noetl.stack.errors import StackError

_NAME = "noetl-server dead-letters"
_SECONDS = 30.0


async def list_rows(
    shards: Sequence[DatabaseAddress], *, after: str | None, limit: int, execution: int | None
) -> Page:
    """Return the parked rows behind a name, shard after shard.

    Raises:
        NoetlError: a database doesn't answer.
    """
    first, number = _place(after, len(shards)) if after is not None else (0, 0)
    found: list[Letter] = []
    for shard in range(first, len(shards)):
        async with _open(shards[shard]) as database:
            rows = await database.fetch(
                "list_rows", number if shard == first else 0, execution, limit - len(found)
            )
        found += [_letter(row, shard) for row in rows]
        if len(found) == limit:
            return Page(found, found[-1].name)
    return Page(found, None)


async def read_row(shards: Sequence[DatabaseAddress], name: str) -> Letter:
    """Return a parked row with its body.

    Raises:
        StackError: there is none of this name.
        NoetlError: its database doesn't answer.
    """
    shard, number = _place(name, len(shards))
    async with _open(shards[shard]) as database:
        row = await database.fetchrow("read_row", number)
    if row is None:
        raise _unknown(name)
    return _letter(row, shard)


async def replay_row(shards: Sequence[DatabaseAddress], name: str) -> None:
    """Have a parked row published after all, under its own message id.

    Raises:
        StackError: there is none of this name.
        NoetlError: its database doesn't answer.
    """
    await _change("replay_row", shards, name)


async def drop_row(shards: Sequence[DatabaseAddress], name: str) -> None:
    """Delete a parked row for good.

    Raises:
        StackError: there is none of this name.
        NoetlError: its database doesn't answer.
    """
    await _change("drop_row", shards, name)


async def _change(statement: str, shards: Sequence[DatabaseAddress], name: str) -> None:
    shard, number = _place(name, len(shards))
    async with _open(shards[shard]) as database:
        if (await database.execute(statement, number)).endswith(" 0"):
            raise _unknown(name)


def _open(address: DatabaseAddress) -> AbstractAsyncContextManager[Database]:
    return open_single(address.dsn, Queries.load(__package__), name=_NAME, seconds=_SECONDS)


def _place(name: str, count: int) -> tuple[int, int]:
    shard, _, number = name.partition("/")
    if int(shard) >= count:
        raise StackError(f"there is no shard {shard}: this installation has {count}")
    return int(shard), int(number)


def _unknown(name: str) -> StackError:
    return StackError(f"there is no parked row {name}: it was replayed, dropped, or is too old")


def _letter(row: Row, shard: int) -> Letter:
    return Letter(
        name=f"{shard}/{row['outbox_id']}",
        subject=row["subject"] or row["kind"],
        execution_id=row["execution_id"],
        reason=row["last_error"] or "",
        tries=row["attempts"],
        first_at=row["created_at"],
        last_at=row["updated_at"],
        hindrance=None,
        body=_body(row["payload"]),
    )


def _body(text: str | None) -> Json:
    if text is None:
        return None
    try:
        return masked(json.loads(text))
    except ValueError:  # cut
        return text
