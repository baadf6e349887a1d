"""One shard of orchestrators on real servers."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import orjson
from noetl_bus.broker import Bus, connect
from noetl_bus.inbox import Incoming
from noetl_bus.publish import MESSAGE_ID_HEADER
from noetl_bus.topology import ensure_durable, ensure_topology
from noetl_common.ids import SnowflakeIds
from noetl_contract.ingress import (
    DEADLINE_HEADER,
    REPLY_HEADER,
    ClaimMessage,
    encode_message,
    place_of,
)
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc.catalog import ResolvedEntry
from noetl_contract.streams import STREAMS, ingress_durable, pool_durable
from noetl_contract.subjects import (
    COMMANDS_ROOT,
    EVENTS_ROOT,
    commits_filter,
    ingress_filter,
    published_filter,
    published_row,
    write_subject,
)
from noetl_engine.execution import Execution
from noetl_engine.playbook import parse_playbook
from noetl_orchestrator.catalog.lookups import Catalog, PlaybookNotUsable
from noetl_orchestrator.orchestrator import Orchestrator
from noetl_orchestrator.replicas.replicas import run_presence
from noetl_orchestrator.settings import Settings
from noetl_pg.pool import open_pool
from noetl_pg.watch import Reachability
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS

from services.orchestrator.tests.messages import Command, Messages
from services.orchestrator.tests.playbooks import LINEAR
from services.orchestrator.tests.tables import Tables


@dataclass
class Replica:
    """One orchestrator process, as rooms of this process."""

    rooms: Orchestrator
    bus: Bus
    settings: Settings
    reach: Reachability


@dataclass
class Shard(Tables, Messages):
    """A shard that a test opens replicas of, and sends messages to."""

    database: Database
    open_replica: Callable[..., Awaitable[Replica]]
    replicas: list[Replica] = field(default_factory=list)
    published: list[JsonObject] = field(default_factory=list)
    """Messages of outbox rows: subject, message_id, body, and outbox_id where it is reported."""
    told: list[tuple[int, str]] = field(default_factory=list)
    """Rows that were reported to the relay as stored, by their id and that of their message."""
    attempts: Iterator[int] = field(default_factory=itertools.count)
    plugins: JsonObject | None = None
    """The catalog's answer about plug-ins; None while it is silent."""
    asked_plugins: list[tuple[str, ...]] = field(default_factory=list)

    async def read_by_one(self, replica: Replica) -> None:
        """Let the pool of the commands have one durable, as a worker makes it."""
        await ensure_durable(self.bus, pool_durable("shared"))
        await replica.rooms.pools.look()

    def notifications(self, command: Command | None = None) -> list[JsonObject]:
        """Return the published notifications of a command, or of all."""
        return [
            one
            for one in self.published
            if one["subject"].startswith(COMMANDS_ROOT)
            and (command is None or one["body"]["event_id"] == command.event_id)
        ]

    @property
    def rooms(self) -> Orchestrator:
        """The first replica's rooms."""
        return self.replicas[0].rooms

    async def publish(
        self,
        execution_id: int,
        body: bytes | JsonObject,
        *,
        subject: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Put a message on the ingress without waiting for its answer."""
        await self.bus.publish(
            subject or _subject(execution_id, body),
            body if isinstance(body, bytes) else orjson.dumps(body),
            message_id=f"{_OF_TESTS}{next(self.attempts)}-{time.time_ns()}",
            headers=headers,
            seconds=PATIENCE_SECONDS,
        )

    async def send(
        self,
        execution_id: int,
        body: bytes | JsonObject,
        *,
        seconds: float = PATIENCE_SECONDS,
        deadline_ms: int | None = None,
        subject: str | None = None,
    ) -> JsonObject:
        """Put a message on the ingress and return its answer."""
        with self.bus.inbox().expect() as waiter:
            headers = {REPLY_HEADER: waiter.subject}
            if deadline_ms is not None:
                headers[DEADLINE_HEADER] = str(deadline_ms)
            await self.publish(execution_id, body, headers=headers, subject=subject)
            answer: JsonObject = orjson.loads(await waiter.wait(seconds))
        return answer

    async def start(self, playbook: str = LINEAR, **fields: Json) -> int:
        """Start an execution and return its id."""
        message = self.start_message(playbook, **fields)
        answer = await self.send(message["execution_id"], message)
        assert answer["status"] == 200, answer
        return int(message["execution_id"])

    async def claim(
        self,
        command: Command,
        *,
        worker: str = "w1",
        instance: str | None = None,
        with_execution: bool = True,
        after_start: bool = False,
        fence: str | None = None,
        known_workload: int | None = None,
        replica: int = 0,
    ) -> JsonObject:
        """Claim a command of a replica directly."""
        message = ClaimMessage(
            execution_id=command.execution_id if with_execution else None,
            event_id=command.event_id,
            worker_id=worker,
            instance=instance,
            after_start=after_start,
            fence=fence,
            known_workload=known_workload,
        )
        door = self.replicas[replica].rooms.door
        subject = write_subject(0, execution_id=place_of(message), kind="claim")
        with self.bus.inbox().expect() as waiter:
            headers = {REPLY_HEADER: waiter.subject}
            door._take(Incoming(subject, encode_message(message), headers))
            await door._hand_in()
            answer: JsonObject = orjson.loads(await waiter.wait(PATIENCE_SECONDS))
        return answer


_OF_TESTS = "t"
"""Message ids of what tests publish begin so."""
_KINDS = ("execute", "events", "cancel", "finalize", "signal", "pause", "resume", "command.")


class Shelf(Catalog):
    """The catalog of a shard: its playbooks, and what it says about plug-ins."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def content(self, catalog_id: int) -> str:
        try:
            return self._shard.playbooks[catalog_id]
        except KeyError:
            raise PlaybookNotUsable(reason="no such playbook", status=404) from None

    async def resolve(self, path: str, version: int | None) -> ResolvedEntry | str:
        del version
        for catalog_id, text in self._shard.playbooks.items():
            if f"path: {path}" in text:
                return ResolvedEntry(catalog_id=catalog_id, path=path, version=1, kind="playbook")
        return f"Playbook not found: {path}"

    async def pin_plugins(self, names: Sequence[str], namespace: str | None) -> JsonObject | None:
        del namespace
        self._shard.asked_plugins.append(tuple(names))
        return self._shard.plugins


def _subject(execution_id: int, body: bytes | JsonObject) -> str:
    kind = "execute"
    if isinstance(body, bytes):
        with suppress(orjson.JSONDecodeError):
            body = orjson.loads(body)
    if isinstance(body, dict) and body.get("type", "").startswith(_KINDS):
        kind = body["type"].removeprefix("command.")
    return f"noetl_ingress.0.{execution_id}.{kind}"


def settings_for(nats_url: str, database: Database, **overrides: Json) -> Settings:
    """Return settings of a test's servers."""
    values = {"claim_patience_seconds": PATIENCE_SECONDS, **database.settings, **overrides}
    return Settings.model_validate({"nats_url": nats_url, **values})


@asynccontextmanager
async def running_loops(
    replica: Replica, *, with_siblings: bool, drain_seconds: float = 2.0
) -> AsyncIterator[None]:
    """Run turns and intake of a replica, and its exchange with siblings."""
    rooms = replica.rooms
    async with rooms.running_turns():
        intake = asyncio.create_task(rooms.spill_reader.run(drain_seconds=drain_seconds))
        siblings = [
            asyncio.create_task(loop())
            for loop in (
                lambda: run_presence(rooms.replicas),
                rooms.door.run,
            )
            if with_siblings
        ]
        try:
            yield
        finally:
            for loop in (*siblings, intake):
                loop.cancel()
            await asyncio.gather(intake, *siblings, return_exceptions=True)


@asynccontextmanager
async def opened_shard(nats_url: str, database: Database) -> AsyncIterator[Shard]:
    """A shard on any servers."""
    async with AsyncExitStack() as stack:
        base = settings_for(nats_url, database)
        bus = await stack.enter_async_context(connect(base, name="test"))
        pool = await stack.enter_async_context(open_pool(base, name="test"))
        await ensure_topology(bus, STREAMS, [ingress_durable(0)])
        playbooks: dict[int, str] = {}
        machines = itertools.count(1)

        async def open_replica(
            *,
            loops: bool = True,
            with_siblings: bool = False,
            executions: type[Execution] = Execution,
            **overrides: Json,
        ) -> Replica:
            """Open a replica; without siblings it decides all it gets, as if it heard no other."""
            values = {"liveness_seconds": PATIENCE_SECONDS, **overrides}
            settings = settings_for(nats_url, database, **values)
            replica_bus = await stack.enter_async_context(connect(settings, name="replica"))
            reach = Reachability()
            turns = await stack.enter_async_context(open_pool(settings, name="turns", reach=reach))
            rooms = await stack.enter_async_context(
                Orchestrator(
                    settings,
                    bus=replica_bus,
                    turn_pool=turns,
                    background_pool=pool,
                    ids=SnowflakeIds(next(machines)),
                    catalog=Shelf(shard),
                    parse=parse_playbook,
                    executions=executions,
                    reach=reach,
                )
            )
            replica = Replica(rooms, replica_bus, settings, reach)
            shard.replicas.append(replica)
            if loops:
                await stack.enter_async_context(running_loops(replica, with_siblings=with_siblings))
            return replica

        shard = Shard(
            ids=SnowflakeIds(1000),
            playbooks=playbooks,
            bus=bus,
            pool=pool,
            database=database,
            open_replica=open_replica,
        )
        await _hear(shard)
        yield shard


async def _hear(shard: Shard) -> None:
    """Note the messages that orchestrators publish, and those reported to the relay."""

    def take(message: Incoming) -> None:
        if not message.headers.get(MESSAGE_ID_HEADER, _OF_TESTS).startswith(_OF_TESTS):
            shard.published.append(_message_of_row(message))

    for place in (f"{COMMANDS_ROOT}.>", f"{EVENTS_ROOT}.>", commits_filter(0), ingress_filter(0)):
        await shard.bus.subscribe(place, take)
    await shard.bus.subscribe(
        published_filter(0), lambda told: shard.told.append(published_row(told.subject))
    )


def _message_of_row(message: Incoming) -> JsonObject:
    """Return a message that was published under an id."""
    outbox_id = None
    if message.reply.startswith(published_filter(0).partition("*")[0]):
        outbox_id, _ = published_row(message.reply)
    return {
        "outbox_id": outbox_id,
        "subject": message.subject,
        "message_id": message.headers[MESSAGE_ID_HEADER],
        "headers": message.headers,
        "body": orjson.loads(message.data),
    }
