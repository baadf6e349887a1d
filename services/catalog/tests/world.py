"""The whole catalog service in process, with its database and a stand-in of the projector."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from noetl_bus.broker import connect
from noetl_bus.rpc import RpcClient, handle, serve_rpc
from noetl_catalog.app import open_parts
from noetl_catalog.settings import Settings
from noetl_contract.json import Json
from noetl_contract.rpc import Refusal, RpcReply
from noetl_contract.rpc.projector import EXECUTIONS_ORIGIN, ExecutionName, ExecutionOrigin
from noetl_contract.subjects import rpc_subject
from noetl_pg.pool import Pool, open_pool
from noetl_service.service import Service, supervise
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS
from pydantic import SecretStr

type Ask = Callable[..., Awaitable[RpcReply]]

CANARY = "s3cret-canary-value"
KEY = SecretStr(base64.b64encode(b"k" * 32).decode())
NEW_KEY = SecretStr(base64.b64encode(b"n" * 32).decode())


@dataclass
class World:
    """The running service, its database and its client."""

    client: RpcClient
    pool: Pool
    service: Service
    executions: dict[int, ExecutionOrigin] = field(default_factory=dict)
    """Answers of `executions.origin`, by execution."""

    async def ask(self, operation: str, **request: Json) -> RpcReply:
        """Ask the service."""
        return await self.client.call(
            rpc_subject("catalog", operation), request, seconds=PATIENCE_SECONDS
        )

    async def ok(self, operation: str, **request: Json) -> Json:
        """Ask and return the body of a 200."""
        reply = await self.ask(operation, **request)
        assert reply.status == 200, reply.error
        return reply.body

    async def audited(self, **request: Json) -> list[tuple[str, str]]:
        """Operations and outcomes in the audit, oldest first."""
        rows = (await self.ok("secret.audit", **request))["rows"]
        return [(row["operation"], row["outcome"]) for row in reversed(rows)]

    async def stored(self, name: str) -> str:
        """The encrypted text of a credential."""
        text: str = await self.pool.fetchval(
            "SELECT data_encrypted FROM noetl.credential WHERE name = $1", name
        )
        return text


def make_settings(database: Database, *, nats_url: str = "", **overrides: Json) -> Settings:
    """Settings that lead to the servers of a test."""
    return Settings(
        nats_url=SecretStr(nats_url),
        **database.settings,
        **{"encryption_key": KEY, **overrides},
    )


@asynccontextmanager
async def open_world(database: Database, nats_url: str, **overrides: Json) -> AsyncIterator[World]:
    """Run the service until the block ends."""
    settings = make_settings(database, nats_url=nats_url, **overrides)
    service = Service("catalog", settings)
    async with (
        connect(settings, name="asker") as bus,
        open_pool(settings, name="asker") as pool,
    ):
        world = World(RpcClient(bus), pool, service)

        async def origin(request: ExecutionName) -> ExecutionOrigin | Refusal:
            found = world.executions.get(request.execution_id)
            return found or Refusal(404, "Execution not found")

        async with (
            serve_rpc(bus, [handle(EXECUTIONS_ORIGIN, origin)], queue="fake", shard=0),
            supervise(service, lambda running: open_parts(running, settings)),
        ):
            yield world
