"""Answers from the log beside those about executions (http-b 6.3, 6.4, 7, 9.1 and 11)."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_contract.http.masking import masked
from noetl_contract.http.moments import rfc3339
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.replay.fold import ReplayRow, replayed
from noetl_projector.settings import Settings


type Pool = asyncpg.Pool[asyncpg.Record]

_MOST_SUBSCRIPTIONS = 10_000


class LookupHandlers:
    """One method per request."""

    def __init__(self, pool: Pool, *, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._sql = Queries.load("noetl_projector", "lookups.sql")

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "event.result": self.on_event_result,
            "events.batch": self.on_batch,
            "replay.state": self.on_replay,
            "executions.stuck": self.on_stuck,
            "subscription.list": self.on_subscriptions,
            "subscription.get": self.on_subscription,
        }
        shard = self._settings.shard_index
        return {
            rpc_subject("projector", name, shard=shard): handler
            for name, handler in handlers.items()
        }

    async def on_event_result(self, request: Request) -> RpcReply | bytes:
        """Return what an event brought, secrets masked."""
        event_id = int(request["event_id"])
        row = await self._row("find_event", event_id)
        if row is None:
            return RpcReply(status=404, error=f"Event not found: {event_id}")
        return encode_reply(
            {
                "event_id": row["event_id"],
                "execution_id": row["execution_id"],
                "event_type": row["event_type"],
                "node_name": row["node_name"],
                "status": row["status"] or "UNKNOWN",
                "result": masked(row["result"]),
                "error": row["error"],
                "created_at": rfc3339(row["created_at"].replace(tzinfo=UTC)),
            }
        )

    async def on_batch(self, request: Request) -> RpcReply:
        """Say what became of a batch; it is named by one of its events, and committed whole."""
        request_id = int(request["request_id"])
        row = await self._row("find_event", request_id)
        if row is None:
            return RpcReply(status=404, error=f"Batch request not found: {request_id}")
        with translate():
            key = await self._pool.fetchval(
                self._sql["find_batch_key"], row["execution_id"], request_id
            )
        return RpcReply(
            body={
                "request_id": str(request_id),
                "execution_id": str(row["execution_id"]),
                "state": "completed",
                "status": "COMPLETED",
                "error_code": None,
                "message": None,
                "commands_generated": 0,
                "idempotency_key": key,
                "updated_at": rfc3339(row["created_at"].replace(tzinfo=UTC)),
            }
        )

    async def on_replay(self, request: Request) -> bytes:
        """Fold a log up to a cutoff."""
        execution_id = int(request["execution_id"])
        moment = request.get("as_of_time")
        with translate():
            cut = await self._pool.fetchval(
                self._sql["find_cut"],
                execution_id,
                request.get("as_of_event_id"),
                request.get("as_of_position"),
                None if moment is None else datetime.fromisoformat(moment),
            )
            records = await self._pool.fetch(
                self._sql["read_replay_rows"], execution_id, cut, int(request["limit"])
            )
        return await asyncio.to_thread(_replay_reply, records, request)

    async def on_stuck(self, request: Request) -> RpcReply:
        """List executions that run for longer than they should, oldest first."""
        with translate():
            rows = await self._pool.fetch(
                self._sql["find_stuck"], int(request["older_than_minutes"]), int(request["limit"])
            )
        return RpcReply(body={"execution_ids": [row["execution_id"] for row in rows]})

    async def on_subscriptions(self, _request: Request) -> RpcReply:
        """List all subscriptions of the shard by id."""
        with translate():
            rows = await self._pool.fetch(self._sql["list_subscriptions"], _MOST_SUBSCRIPTIONS)
        return RpcReply(body={"subscriptions": [_subscription(row) for row in rows]})

    async def on_subscription(self, request: Request) -> RpcReply:
        """Return a subscription."""
        subscription_id = int(request["subscription_id"])
        row = await self._row("find_subscription", subscription_id)
        if row is None:
            return RpcReply(status=404, error=f"Subscription {subscription_id} not registered")
        return RpcReply(body=_subscription(row))

    async def _row(self, name: str, *values: object) -> asyncpg.Record | None:
        with translate():
            return await self._pool.fetchrow(self._sql[name], *values)


def _replay_reply(records: list[asyncpg.Record], request: Request) -> bytes:
    rows = [
        ReplayRow(
            **{
                **dict(record),
                "reference": masked(record["reference"]),
                "meta": masked(record["meta"]),
            }
        )
        for record in records
    ]
    body = replayed(
        rows,
        execution_id=int(request["execution_id"]),
        tenant_id=str(request["tenant_id"]),
        organization_id=str(request["organization_id"]),
        projection=str(request["projection"]),
    )
    return encode_reply(orjson.Fragment(orjson.dumps(body)))


def _subscription(row: asyncpg.Record) -> JsonObject:
    return {
        "subscription_id": str(row["subscription_id"]),
        "path": row["path"],
        "catalog_id": str(row["catalog_id"]),
        "state": row["state"],
        "last_event_type": row["last_event_type"],
        "updated_at": row["updated_at"].astimezone(UTC).isoformat(),
    }
