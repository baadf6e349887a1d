"""Starts and cancels of firings' executions, with the same id and key for each repetition."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import product

from noetl_bus.broker import Bus
from noetl_bus.errors import BusUnavailable
from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_bus.writes.exchange import Exchange, NoAnswer, WriteTimeout
from noetl_bus.writes.sender import Sender
from noetl_bus.writes.write import Write
from noetl_common import metrics
from noetl_common.errors import Unavailable
from noetl_common.ids import SnowflakeIds, mint_on_shard_of
from noetl_common.logging import get_logger
from noetl_contract.ingress import CancelMessage, ExecuteMessage, encode_message, kind_of
from noetl_contract.rpc import RpcReply, decode_reply
from noetl_contract.rpc.projector import EXECUTIONS_STATES, ExecutionNames
from noetl_contract.sharding import shard_for
from noetl_engine.schedule.model import Overlap
from noetl_engine.schedule.payload import PayloadError, render_payload

from noetl_catalog.schedules.rows import Firing, Origin, ScheduleRow, State
from noetl_catalog.schedules.store import Clock, Playbook, ScheduleStore, Settled

FIRINGS = metrics.counter(
    "noetl_schedule_firings_total",
    "Decisions about times of schedules, by decision and origin (clock or backfill).",
    ["state", "origin"],
    zeros=product(("started", "queued", "skipped", "missed", "failed"), ("clock", "backfill")),
)
LATENESS = metrics.histogram(
    "noetl_schedule_lateness_seconds",
    "Time from the due time of a firing to the answer to its start.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0),
)
_log = get_logger()
_STATES_SECONDS = 5.0
_COPY_AFTER_SECONDS = 1.5
"""Time without an answer after which a message is sent again. It is shorter than the time for which
a killed orchestrator blocks a redelivery."""
_KEY_SECONDS = 10 * 365 * 86400
_CANCELLED = "CANCELLED"


class ExecutionStates:
    """Reads the status of executions from the projectors of all shards."""

    def __init__(self, rpc: RpcClient, *, shard_count: int) -> None:
        self._rpc = rpc
        self._shard_count = shard_count

    async def of(self, execution_ids: Iterable[int]) -> dict[int, str]:
        """Return the status of executions by id, except unknown executions.

        Raises:
            Unavailable: a shard doesn't answer.
        """
        by_shard: dict[int, list[int]] = defaultdict(list)
        for one in execution_ids:
            by_shard[shard_for(one, shard_count=self._shard_count)].append(one)
        found: dict[int, str] = {}
        for shard, ids in by_shard.items():
            try:
                answer = await self._rpc.ask(
                    EXECUTIONS_STATES,
                    ExecutionNames(execution_ids=ids),
                    shard=shard,
                    seconds=_STATES_SECONDS,
                    wait_for_responder=True,
                )
            except (RpcRefused, RpcUnavailable) as error:
                raise Unavailable(what="the projector service") from error
            found |= {int(name): status for name, status in answer.states.items()}
        return found


class Starts:
    """Sends messages to orchestrators and returns their answers.

    A message without an answer is sent again, here and by the caller. Repetitions have the same
    execution id and key, so they have one effect (W5).

    Args:
        bus: the connection.
        shard_count: number of shards.
        at_once: maximum number of messages that wait for their answers.
        seconds: timeout of an answer.
        is_direct: see `Sender`.
    """

    def __init__(
        self, bus: Bus, *, shard_count: int, at_once: int, seconds: float, is_direct: bool = True
    ) -> None:
        self._inbox = bus.inbox()
        self._sender = Sender(bus, is_direct=is_direct)
        self._shard_count = shard_count
        self._places = asyncio.Semaphore(at_once)
        self._timeout = WriteTimeout(seconds=seconds)

    async def send(self, message: ExecuteMessage | CancelMessage) -> RpcReply | None:
        """Send a message and return its answer, or None if the outcome is unknown."""
        async with self._places:
            try:
                return await self._answered(message)
            except (NoAnswer, BusUnavailable) as error:
                _log.info(
                    "schedule_message_unanswered",
                    execution_id=message.execution_id,
                    kind=kind_of(message),
                    error=error.message,
                )
                return None

    async def _answered(self, message: ExecuteMessage | CancelMessage) -> RpcReply:
        execution_id = message.execution_id
        with Write(
            self._inbox,
            shard=shard_for(execution_id, shard_count=self._shard_count),
            execution_id=execution_id,
            kind=kind_of(message),
            body=encode_message(message),
        ) as write:
            exchange = Exchange(
                self._sender,
                write,
                self._timeout,
                deadline=asyncio.get_running_loop().time() + self._timeout.seconds,
                check_seconds=_COPY_AFTER_SECONDS,
                is_searched=False,
            )
            return decode_reply(await exchange.answer())


class Launcher:
    """Starts and cancels the executions of firings."""

    def __init__(
        self, store: ScheduleStore, starts: Starts, *, ids: SnowflakeIds, clock: Clock, shards: int
    ) -> None:
        self._store = store
        self._starts = starts
        self._ids = ids
        self._clock = clock
        self._shards = shards

    def mint(self, row: ScheduleRow, moment: datetime) -> int:
        """Generate the id of a firing's execution, on the shard of its request key.

        Raises:
            NotMinting: the lease of the machine id or the clock is in doubt.
        """
        home = f"dedup:0:{row.key_of(moment)}"
        return mint_on_shard_of(self._ids, home, shard_count=self._shards)

    async def launch(self, wanted: Sequence[tuple[ScheduleRow, Firing]]) -> list[Settled]:
        """Send starts concurrently, and return the outcomes of answered starts."""
        if not wanted:
            return []
        playbooks = await self._store.resolve_playbooks({_playbook_of(row) for row, _ in wanted})
        sent = (self._launched(row, one, playbooks.get(_playbook_of(row))) for row, one in wanted)
        settled = [one for one in await asyncio.gather(*sent) if one is not None]
        for one in settled:
            FIRINGS.labels(one.state, one.firing.origin).inc()
        return settled

    async def cancel(self, firing: Firing, *, reason: str) -> Settled | None:
        """Cancel the execution of a firing; return None if the outcome is unknown."""
        message = CancelMessage(
            execution_id=firing.execution_id or 0, reason=reason, cascade=True, actor="schedule"
        )
        reply = await self._starts.send(message)
        if reply is None or reply.status >= 500:
            return None
        # A refusal means that the execution has already ended; its outcome is not read here.
        outcome = _CANCELLED if reply.status == 200 else None
        return Settled(firing, State.STARTED, outcome=outcome)

    async def _launched(
        self, row: ScheduleRow, firing: Firing, playbook: Playbook | None
    ) -> Settled | None:
        if playbook is None:
            path, version = _playbook_of(row)
            name = path if version is None else f"{path} version {version}"
            return Settled(firing, State.FAILED, reason=f"Playbook not found: {name}")
        try:
            message = _message(row, firing, playbook)
        except PayloadError as error:
            return Settled(firing, State.FAILED, reason=str(error))
        reply = await self._starts.send(message)
        if reply is None or reply.status >= 500:
            return None
        if not reply.is_good:
            return Settled(firing, State.FAILED, reason=reply.error or f"status {reply.status}")
        try:
            execution_id = int(reply.body["execution_id"])
        except (ValueError, TypeError, KeyError):
            reason = "the answer contains no execution id"
            return Settled(firing, State.FAILED, reason=reason)
        now = await self._clock()
        if firing.origin is Origin.CLOCK:
            LATENESS.observe(max(0.0, (now - firing.due_at).total_seconds()))
        return Settled(
            firing,
            State.STARTED,
            execution_id=execution_id,
            started_at=now,
            is_awaited=(
                firing.origin is Origin.CLOCK and row.schedule.overlap is not Overlap.ALLOW
            ),
        )


def _playbook_of(row: ScheduleRow) -> tuple[str, int | None]:
    return row.schedule.playbook, row.schedule.version


def _message(row: ScheduleRow, firing: Firing, playbook: Playbook) -> ExecuteMessage:
    """Return the message that starts a firing's execution.

    Raises:
        PayloadError: rendering the payload fails.
    """
    moment = firing.scheduled_at
    return ExecuteMessage(
        execution_id=firing.execution_id or 0,
        catalog_id=playbook.catalog_id,
        path=playbook.path,
        version=playbook.version,
        payload=render_payload(row.schedule, row.times, path=row.path, moment=moment),
        dedup_key=row.key_of(moment),
        dedup_window_seconds=_KEY_SECONDS,
        owner=row.owner,
        actor=row.owner,
        namespace=row.namespace,
    )
