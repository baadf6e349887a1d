"""One shard of orchestrators on real servers, and what a test says to it."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
import pytest
from noetl_common.bus.broker import Bus, connect
from noetl_common.bus.topology import ensure_topology
from noetl_common.ids import SnowflakeIds
from noetl_common.pg.pool import open_pool
from noetl_contract.ingress import DEADLINE_HEADER, REPLY_HEADER
from noetl_contract.streams import STREAMS, ingress_durable
from noetl_contract.subjects import ingress_subject, outbox_hint_subject
from noetl_engine.execution import Execution
from noetl_engine.playbook import parse_playbook
from noetl_orchestrator.app import running_turns
from noetl_orchestrator.ingress.consumer import run_intake
from noetl_orchestrator.memory.playbooks import PlaybookNotUsable
from noetl_orchestrator.memory.replicas import run_presence
from noetl_orchestrator.orchestrator import Parts, assemble
from noetl_orchestrator.settings import Settings
from noetl_testkit.postgres import Database

type Json = Any

LINEAR = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: linear, path: tests/linear}
workload: {message: hi}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: second}]}
  - step: second
    tool: {kind: noop}
"""

LOOP = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: loop, path: tests/loop}
workload: {items: [1, 2, 3]}
workflow:
  - step: start
    loop: {in: "{{ workload.items }}", iterator: item, spec: {mode: parallel}}
    tool: {kind: python, code: "result = item"}
    next: {arcs: [{step: last}]}
  - step: last
    tool: {kind: python, args: {all: "{{ start }}"}, code: "result = 1"}
"""


@dataclass(frozen=True)
class Command:
    """A command as its notification names it."""

    execution_id: int
    event_id: int
    command_id: str
    step: str


@dataclass
class Replica:
    """One orchestrator process, as parts in this process."""

    parts: Parts
    bus: Bus
    settings: Settings


@dataclass
class Shard:
    """What a test needs of a shard."""

    bus: Bus
    database: Database
    pool: asyncpg.Pool
    ids: SnowflakeIds
    playbooks: dict[int, str]
    open_replica: Callable[..., Awaitable[Replica]]
    replicas: list[Replica] = field(default_factory=list)
    hints: list[dict[str, Json]] = field(default_factory=list)
    attempts: Any = field(default_factory=itertools.count)

    @property
    def parts(self) -> Parts:
        """The first replica's parts."""
        return self.replicas[0].parts

    # -- saying something ----------------------------------------------------------------

    async def publish(
        self,
        execution_id: int,
        body: bytes | dict[str, Json],
        *,
        subject: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Put a message on the ingress without waiting for its answer."""
        await self.bus.publish(
            subject or ingress_subject(0, execution_id=execution_id),
            body if isinstance(body, bytes) else orjson.dumps(body),
            message_id=f"t{next(self.attempts)}-{time.time_ns()}",
            headers=headers,
        )

    async def send(
        self,
        execution_id: int,
        body: bytes | dict[str, Json],
        *,
        seconds: float = 10.0,
        deadline_ms: int | None = None,
        subject: str | None = None,
    ) -> dict[str, Json]:
        """Put a message on the ingress and return its answer."""
        with self.bus.inbox().expect() as waiter:
            headers = {REPLY_HEADER: waiter.subject}
            if deadline_ms is not None:
                headers[DEADLINE_HEADER] = str(deadline_ms)
            await self.publish(execution_id, body, headers=headers, subject=subject)
            answer: dict[str, Json] = orjson.loads(await waiter.wait(seconds))
        return answer

    def start_message(
        self, playbook: str = LINEAR, *, execution_id: int | None = None, **fields: Json
    ) -> dict[str, Json]:
        """Return a start of a playbook text."""
        catalog_id = next(
            (known for known, text in self.playbooks.items() if text == playbook), None
        )
        if catalog_id is None:
            catalog_id = self.ids.next()
            self.playbooks[catalog_id] = playbook
        return {
            "type": "execute",
            "execution_id": execution_id or self.ids.next(),
            "catalog_id": catalog_id,
            "path": "tests/playbook",
            "version": 1,
            **fields,
        }

    async def start(self, playbook: str = LINEAR, **fields: Json) -> int:
        """Start an execution and return its id."""
        message = self.start_message(playbook, **fields)
        answer = await self.send(message["execution_id"], message)
        assert answer["status"] == 200, answer
        return int(message["execution_id"])

    def fast(
        self,
        command: Command,
        kind: str = "command.outcome",
        *,
        worker: str = "w1",
        instance: str = "i1",
        attempts: int = 0,
        data: Json = None,
        event_ids: tuple[int, ...] | None = None,
    ) -> dict[str, Json]:
        """Return a fast-path message about a command."""
        ids = event_ids or tuple(self.ids.next() for _ in range(3))
        meta = {"attempts": attempts, "command_id": command.command_id}
        about = {"command_id": command.command_id}
        done = {**about, "call_index": 0, "result": {"status": "success", "context": data}}
        events = [
            ("command.started", "STARTED", about),
            ("call.done", "COMPLETED", done),
            ("command.completed", "success", {**about, "status": "success"}),
        ]
        if kind == "command.start":
            events = events[:1]
        return {
            "type": kind,
            "execution_id": command.execution_id,
            "hold": {
                "event_id": command.event_id,
                "command_id": command.command_id,
                "step": command.step,
                "attempts": attempts,
                "worker_id": worker,
                "instance": instance,
            },
            "events": [
                {
                    "event_type": event_type,
                    "step": command.step,
                    "event_id": event_id,
                    "status": status,
                    "context": context,
                    "meta": meta,
                    "worker_id": worker,
                    "created_at": "2026-06-15T09:18:22.901Z",
                }
                for event_id, (event_type, status, context) in zip(ids, events, strict=False)
            ],
        }

    def event(
        self,
        command: Command,
        event_type: str,
        *,
        worker: str = "w1",
        event_id: int | None = None,
        attempts: int | None = None,
        context: Json = None,
    ) -> dict[str, Json]:
        """Return an HTTP event about a command."""
        about = {"command_id": command.command_id, **(context or {})}
        meta = {} if attempts is None else {"attempts": attempts}
        return {
            "type": "events",
            "execution_id": command.execution_id,
            "events": [
                {
                    "event_type": event_type,
                    "step": command.step,
                    "event_id": event_id or self.ids.next(),
                    "context": about,
                    "meta": meta,
                    "worker_id": worker,
                }
            ],
        }

    async def claim(
        self,
        command: Command,
        *,
        worker: str = "w1",
        instance: str | None = None,
        with_execution: bool = True,
        after_start: bool = False,
        replica: int = 0,
    ) -> dict[str, Json]:
        """Claim a command of a replica directly."""
        request: dict[str, Json] = {
            "event_id": command.event_id,
            "worker_id": worker,
            "instance": instance,
            "after_start": after_start,
        }
        if with_execution:
            request["execution_id"] = command.execution_id
        answer = await self.replicas[replica].parts.on_claim(request)
        if isinstance(answer, bytes):
            found: dict[str, Json] = orjson.loads(answer)
            return found
        return answer.model_dump()

    # -- looking -------------------------------------------------------------------------

    async def open_commands(self, execution_id: int) -> list[Command]:
        """Return commands not finished, in order of issue."""
        rows = await self.pool.fetch(
            "SELECT c.event_id, c.step_name, c.meta FROM noetl.command c JOIN noetl.event e"
            " USING (execution_id, event_id) WHERE c.execution_id = $1"
            " AND c.status IN ('PENDING', 'CLAIMED', 'RUNNING') ORDER BY e.position",
            execution_id,
        )
        return [
            Command(execution_id, row["event_id"], row["meta"]["command_id"], row["step_name"])
            for row in rows
        ]

    async def command(self, execution_id: int) -> Command:
        """Return the only open command."""
        (command,) = await self.open_commands(execution_id)
        return command

    async def log(self, execution_id: int) -> list[asyncpg.Record]:
        """Return the log in its order, having checked that it has no gaps."""
        rows = await self.pool.fetch(
            "SELECT * FROM noetl.event WHERE execution_id = $1 ORDER BY position", execution_id
        )
        assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
        return list(rows)

    async def types(self, execution_id: int) -> list[str]:
        """Return the types of the log."""
        return [row["event_type"] for row in await self.log(execution_id)]

    async def state(self, execution_id: int) -> asyncpg.Record | None:
        """Return the state row."""
        return await self.pool.fetchrow(
            "SELECT * FROM noetl.execution_state WHERE execution_id = $1", execution_id
        )

    async def command_row(self, command: Command) -> asyncpg.Record:
        """Return a command's row."""
        row = await self.pool.fetchrow(
            "SELECT * FROM noetl.command WHERE execution_id = $1 AND event_id = $2",
            command.execution_id,
            command.event_id,
        )
        assert row is not None
        return row

    async def dead_letters(self) -> list[tuple[dict[str, str], bytes]]:
        """Return all dead letters with their headers."""
        info = await self.bus.js.stream_info("noetl_dead")
        found = []
        for sequence in range(1, info.state.last_seq + 1):
            message = await self.bus.js.get_msg("noetl_dead", sequence)
            found.append((dict(message.headers or {}), message.data or b""))
        return found

    async def ingress_is_empty(self) -> bool:
        """Tell whether every message was handled and acknowledged."""
        info = await self.bus.js.stream_info("noetl_ingress")
        return info.state.messages == 0


def settings_for(nats_url: str, database: Database, **overrides: Json) -> Settings:
    """Return settings of a test's servers."""
    return Settings.model_validate({"nats_url": nats_url, **database.settings, **overrides})


@asynccontextmanager
async def running_loops(replica: Replica) -> AsyncIterator[None]:
    """Run turns and intake of a replica."""
    settings, parts = replica.settings, replica.parts
    async with running_turns(parts, count=settings.turns_in_flight):
        intake = asyncio.create_task(
            run_intake(
                replica.bus,
                ingress_durable(settings.shard_index),
                parts.on_batch,
                window=settings.ingress_window,
                drain_seconds=2.0,
            )
        )
        presence = asyncio.create_task(run_presence(parts.replicas))
        try:
            yield
        finally:
            presence.cancel()
            intake.cancel()
            await asyncio.gather(intake, presence, return_exceptions=True)


@pytest.fixture
async def shard(nats_url: str, database: Database) -> AsyncIterator[Shard]:
    """A shard without replicas; a test opens them with its settings."""
    async with opened_shard(nats_url, database) as opened:
        yield opened


@asynccontextmanager
async def opened_shard(nats_url: str, database: Database) -> AsyncIterator[Shard]:
    """A shard on any servers."""
    async with AsyncExitStack() as stack:
        base = settings_for(nats_url, database)
        bus = await stack.enter_async_context(connect(base, name="test"))
        pool = await stack.enter_async_context(open_pool(base, name="test"))
        await ensure_topology(bus, STREAMS, (ingress_durable(0),))
        playbooks: dict[int, str] = {}
        machines = itertools.count(1)

        async def fetch(catalog_id: int) -> str:
            try:
                return playbooks[catalog_id]
            except KeyError:
                raise PlaybookNotUsable(reason="no such playbook", status=404) from None

        async def open_replica(
            *, loops: bool = True, executions: Any = Execution, **overrides: Json
        ) -> Replica:
            settings = settings_for(nats_url, database, **overrides)
            replica_bus = await stack.enter_async_context(connect(settings, name="replica"))
            turns = await stack.enter_async_context(open_pool(settings, name="turns"))
            parts = assemble(
                settings,
                bus=replica_bus,
                turn_pool=turns,
                background_pool=pool,
                ids=SnowflakeIds(next(machines)),
                fetch_content=fetch,
                parse=parse_playbook,
                executions=executions,
            )
            parts.clock.set(await parts.store.read_clock())
            replica = Replica(parts, replica_bus, settings)
            shard.replicas.append(replica)
            if loops:
                await stack.enter_async_context(running_loops(replica))
            return replica

        shard = Shard(bus, database, pool, SnowflakeIds(1000), playbooks, open_replica)
        await bus.subscribe(
            outbox_hint_subject(0), lambda message: shard.hints.extend(orjson.loads(message.data))
        )
        yield shard
