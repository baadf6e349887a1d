"""Rows as a commit leaves them, and a relay that publishes them, on real servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time

import orjson
from noetl_bus.broker import Bus, connect
from noetl_bus.publish import Outgoing
from noetl_bus.topology import ensure_topology
from noetl_common.ids import SnowflakeIds
from noetl_contract import message_ids
from noetl_contract.events import EventMessage, EventRow, event_message
from noetl_contract.json import Json
from noetl_contract.streams import STREAMS
from noetl_contract.subjects import (
    command_subject,
    commit_subject,
    event_subject,
    published_subject,
)
from noetl_outbox.app import open_relay
from noetl_outbox.settings import Settings
from noetl_pg.pool import Pool, open_pool
from noetl_service.service import Service, supervise
from noetl_testkit.postgres import Database
from pydantic import SecretStr

EXECUTION_ID = 325077236512452608
_PUBLISH_SECONDS = 29.0  # the longest that the settings allow
_CREATED_AT = datetime(2026, 6, 15, 9, 18, 22, 481205, UTC)

_INSERT_OUTBOX = """
INSERT INTO noetl.outbox
    (outbox_id, execution_id, event_id, kind, subject, message_id, payload, available_at,
    created_at)
SELECT n.outbox_id, n.execution_id, n.event_id, n.kind, n.subject, n.message_id, n.payload,
    now() - make_interval(secs => $2), now() - make_interval(secs => $2)
FROM json_to_recordset($1::json) AS n (
    outbox_id bigint, execution_id bigint, event_id bigint, kind text, subject text,
    message_id text, payload jsonb
)
"""
_INSERT_EVENTS = """
INSERT INTO noetl.event
    (execution_id, catalog_id, event_id, event_type, node_name, status, result, position,
     created_at)
SELECT execution_id, 1, event_id, $6, 'start', 'COMPLETED', $3::jsonb, position,
    $4::timestamp
FROM unnest($1::bigint[], $2::bigint[], $5::bigint[]) AS e (execution_id, event_id, position)
"""


@dataclass
class Rows:
    """Inserts rows like a commit, and reads them back."""

    pool: Pool
    bus: Bus
    last_id: int = 0

    def command(self, number: int, *, pool: str = "shared", **overrides: Json) -> Json:
        """Return the row of a command."""
        payload = {
            "execution_id": EXECUTION_ID,
            "event_id": number,
            "command_id": f"{EXECUTION_ID}:start:{number}",
            "step": "start",
            "server_url": "http://localhost:8082",
            "fast": {"v": 1, "shard": 0, "attempts": 0},
        }
        return {
            "outbox_id": self._next_id(),
            "kind": "command",
            "execution_id": EXECUTION_ID,
            "event_id": number,
            "subject": command_subject(pool, execution_id=EXECUTION_ID),
            "message_id": message_ids.command_id(number, holds=0),
            "payload": payload,
        } | overrides

    def event(self, number: int, **overrides: Json) -> Json:
        """Return the row of an event, in the log as `commit` writes it."""
        return {
            "outbox_id": self._next_id(),
            "kind": "event",
            "execution_id": EXECUTION_ID,
            "event_id": number,
            "subject": event_subject(EXECUTION_ID, shard=0),
            "message_id": message_ids.event_id(EXECUTION_ID, position=number),
            "payload": None,
        } | overrides

    def of_commit(self, first: int, last: int, **overrides: Json) -> Json:
        """Return the row of a commit; the event at a position has the position as its id."""
        return {
            "outbox_id": self._next_id(),
            "kind": "commit",
            "execution_id": EXECUTION_ID,
            "event_id": last,
            "subject": commit_subject(EXECUTION_ID, shard=0),
            "message_id": message_ids.commit_id(EXECUTION_ID, position=last),
            "payload": {"first": first, "last": last},
        } | overrides

    async def append(self, *numbers: int, event_type: str = "call.done") -> None:
        """Append events to the log; number, id and position are the same."""
        await self._append([EXECUTION_ID] * len(numbers), list(numbers), None, event_type)

    async def _append(
        self, executions: list[int], numbers: list[int], result: Json, event_type: str
    ) -> None:
        created_at = _CREATED_AT.replace(tzinfo=None)
        await self.pool.execute(
            _INSERT_EVENTS, executions, numbers, result, created_at, numbers, event_type
        )

    def message(
        self, number: int, result: Json = None, *, event_type: str = "call.done"
    ) -> EventMessage:
        """Return the message of an event."""
        return event_message(
            EventRow(
                execution_id=EXECUTION_ID,
                position=number,
                event_id=number,
                event_type=event_type,
                created_at=_CREATED_AT,
                catalog_id=1,
                node_name="start",
                status="COMPLETED",
                result=result,
            )
        )

    async def commit(
        self, *rows: Json, age_seconds: float = 0.0, result: Json = None, pending: bool = True
    ) -> None:
        """Write outbox rows, and events and commands they are about."""
        events = [row for row in rows if row["kind"] == "event"]
        if events:
            await self._append(
                [row["execution_id"] for row in events],
                [row["event_id"] for row in events],
                result,
                "call.done",
            )
        for row in rows:
            if row["kind"] == "command":
                await self.pool.execute(
                    "INSERT INTO noetl.command (command_id, event_id, execution_id, catalog_id,"
                    " step_name, status) VALUES ($1, $1, $2, 1, 'start', $3)"
                    " ON CONFLICT DO NOTHING",
                    row["event_id"],
                    row["execution_id"],
                    "PENDING" if pending else "COMPLETED",
                )
        await self.pool.execute(_INSERT_OUTBOX, list(rows), age_seconds)
        await self.pool.fetchval(
            "SELECT setval('noetl.outbox_outbox_id_seq', max(outbox_id)) FROM noetl.outbox"
        )

    async def statuses(self) -> dict[str, int]:
        """Count the rows of each status."""
        found = await self.pool.fetch("SELECT status, count(*) FROM noetl.outbox GROUP BY status")
        return dict(map(tuple, found))

    async def all_published(self) -> bool:
        """Return whether nothing is left to publish."""
        return set(await self.statuses()) <= {"PUBLISHED"}

    async def row(self, outbox_id: int) -> Json:
        """Return a row."""
        return await self.pool.fetchrow(
            "SELECT * FROM noetl.outbox WHERE outbox_id = $1", outbox_id
        )

    async def stored(self, stream: str) -> list[tuple[str, str, Json]]:
        """Return the messages of a stream: subject, message id, body."""
        info = await self.bus.js.stream_info(stream)
        found = []
        for sequence in range(info.state.first_seq, info.state.last_seq + 1):
            message = await self.bus.js.get_msg(stream, sequence)
            headers = message.headers or {}
            body = orjson.loads(message.data or b"null")
            found.append((message.subject or "", headers.get("Nats-Msg-Id", ""), body))
        return found

    async def publish_as_its_orchestrator(self, row: Json) -> None:
        """Publish the message of a row so that the broker acknowledges it to the relay."""
        message = Outgoing(row["subject"], orjson.dumps(row["payload"]), row["message_id"])
        await self.bus.publish_without_waiting(message, acknowledge_to=_acknowledged(row))

    async def acknowledge(self, row: Json, answer: Json) -> None:
        """Send the relay a broker's answer to the message of a row."""
        await self.bus.send(_acknowledged(row), orjson.dumps(answer))

    async def count(self, stream: str) -> int:
        """Count the messages of a stream."""
        return (await self.bus.js.stream_info(stream)).state.messages

    def _next_id(self) -> int:
        self.last_id += 1
        return self.last_id


def minted(*, seconds_later: float) -> int:
    """Return an id of another time."""
    return SnowflakeIds(1, lambda: int((time() + seconds_later) * 1000)).next()


def _acknowledged(row: Json) -> str:
    return published_subject(0, outbox_id=row["outbox_id"], message_id=row["message_id"])


def make_settings(database: Database, *, nats_url: str, **overrides: Json) -> Settings:
    """Return settings that lead to the servers of a test."""
    values = {"outbox_publish_timeout_seconds": _PUBLISH_SECONDS, **overrides}
    return Settings(nats_url=SecretStr(nats_url), **database.settings, **values)


@asynccontextmanager
async def opened_rows(database: Database, nats_url: str) -> AsyncIterator[Rows]:
    """Open the rows of any servers."""
    settings = make_settings(database, nats_url=nats_url)
    async with connect(settings, name="test") as bus, open_pool(settings, name="test") as pool:
        await ensure_topology(bus, STREAMS)
        yield Rows(pool, bus)


@asynccontextmanager
async def relaying(database: Database, nats_url: str, **overrides: Json) -> AsyncIterator[Service]:
    """Run a whole relay while the block lasts."""
    settings = make_settings(database, nats_url=nats_url, **overrides)
    service = Service("outbox", settings)
    async with supervise(service, lambda known: open_relay(known, settings)):
        yield service
        assert service.failure is None
