"""Purging silent workers, and finding who listens where (http-b 9.2 and 10.9)."""

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg
from noetl_common.bus.rpc import RpcHandler
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.yaml import compose, to_json

__all__ = ["UpkeepHandlers"]

type Json = Any
type Pool = asyncpg.Pool[asyncpg.Record]

_MOST_SUBSCRIPTIONS = 2000
_LONGEST_MINUTES = 60 * 24 * 365 * 10


class UpkeepHandlers:
    """One method per request."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = Queries.load("noetl_catalog", "upkeep.sql")

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return {
            rpc_subject("catalog", "runtime.purge"): self.on_purge,
            rpc_subject("catalog", "subscription.listener"): self.on_listener,
        }

    async def on_purge(self, request: dict[str, Json]) -> RpcReply:
        """Remove worker pools that have been silent for long."""
        minutes = max(1, min(int(request["stale_minutes"]), _LONGEST_MINUTES))
        async with translate():
            purged = await self._pool.fetchval(self._sql["purge_runtimes"], minutes)
        return RpcReply(body={"purged": purged})

    async def on_listener(self, request: dict[str, Json]) -> RpcReply:
        """Return the subscription whose gateway path ends in a name."""
        listener = str(request["listener"])
        async with translate():
            rows = await self._pool.fetch(
                self._sql["list_newest_subscriptions"], _MOST_SUBSCRIPTIONS
            )
        found = await asyncio.to_thread(_find, rows, listener)
        if found is None:
            text = f"No push subscription for ingress listener '{listener[:200]}'"
            return RpcReply(status=404, error=text)
        return RpcReply(body=found)


def _find(rows: list[asyncpg.Record], listener: str) -> dict[str, Json] | None:
    for row in rows:
        spec = _spec(row["content"])
        path = _map(spec.get("ingress")).get("gateway_path")
        if isinstance(path, str) and path.rstrip("/").rpartition("/")[2] == listener:
            return {"path": row["path"], "catalog_id": row["catalog_id"], "spec": spec}
    return None


def _spec(content: str | None) -> Mapping[str, Json]:
    """Return the `spec` of a document; one that can't be read listens nowhere."""
    try:
        document = to_json(compose(content or ""))
    except DecodeError:
        return {}
    return _map(_map(document).get("spec"))


def _map(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
