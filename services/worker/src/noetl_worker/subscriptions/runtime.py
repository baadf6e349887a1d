"""The loop: take messages, start their executions, settle them."""

import asyncio
from typing import TYPE_CHECKING

from noetl_common.logging import get_logger

from noetl_worker.sources.source import Source, SourceAway, Taken
from noetl_worker.subscriptions import metrics
from noetl_worker.subscriptions.control import ControlPlaneAway
from noetl_worker.subscriptions.pace import Pace
from noetl_worker.subscriptions.parts import Parts
from noetl_worker.subscriptions.settling import Settling
from noetl_worker.subscriptions.spool.replay import Replay
from noetl_worker.subscriptions.starts import Answer, start_many, start_of, start_one

if TYPE_CHECKING:
    from noetl_contract.json import JsonObject

_log = get_logger()

_DEFAULT_IN_FLIGHT = 32
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_LIMIT_NOTE_SECONDS = 60.0
_HOLD_SECONDS = 5.0
_ENDED = frozenset({"DRAINING", "DEACTIVATED"})


class Runtime:
    """One subscription being read by this process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        spec = parts.document.spec
        self._spec = spec
        self._kind = spec.source
        self._most = spec.limits.max_in_flight or _DEFAULT_IN_FLIGHT
        self._pace = Pace(spec.limits.max_dispatch_per_sec)
        self._settling = Settling(parts)
        self._replay = self._replay_of(parts)
        self._source: Source | None = None
        self._is_paused = False
        self._has_ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._settlers: list[asyncio.Task[None]] = []
        self._limit_noted_at: float | None = None

    @property
    def is_reading(self) -> bool:
        """Whether there is a connection to the source."""
        return self._source is not None

    @staticmethod
    def _replay_of(parts: Parts) -> Replay | None:
        if parts.spool is None:
            return None
        return Replay(
            parts.spool,
            control=parts.control,
            document=parts.document,
            circuit=parts.circuit,
            beat=parts.beat,
        )

    async def run(self) -> None:
        """Read until the subscription is drained or deactivated."""
        if self._parts.spool is not None:
            await self._parts.spool.open()
        reading = [asyncio.create_task(self._take()), asyncio.create_task(self._watch())]
        if self._replay is not None:
            reading.append(asyncio.create_task(self._replay.run()))
        # These go on to the end: what is being started still has to be settled.
        self._settlers = [
            asyncio.create_task(self._hold()),
            asyncio.create_task(self._settling.run_acks()),
        ]
        ended = asyncio.create_task(self._has_ended.wait())
        try:
            watched = {ended, *reading, *self._settlers}
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            for task in (ended, *reading):
                task.cancel()
            await asyncio.wait({ended, *reading})

    async def finish(self, *, seconds: float) -> bool:
        """Settle the messages taken, as long as the time goes; return whether all are settled."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        is_acked = await self._settling.flush(seconds=max(1.0, seconds / 4))
        for task in self._settlers:
            task.cancel()
        waiting = self._settling.unsettled
        if self._source is not None:
            try:
                await self._source.give_back(waiting)
            except SourceAway as error:
                _log.warning("messages_not_given_back", reason=str(error))
            await self._source.close()
            self._source = None
        await self._parts.circuit.stop()
        return is_acked and not waiting

    # -- loops ---------------------------------------------------------------------------

    async def _take(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            self._parts.beat()
            if not self._may_take():
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            room = self._most - self._settling.held
            if room <= 0:
                await self._limited("max_in_flight")
                await self._settling.freed(_LOOK_SECONDS)
                continue
            try:
                taken = await self._fetch(min(room, self._spec.runtime.batch))
            except SourceAway as error:
                _log.warning("source_away", source=self._kind, reason=str(error))
                await self._drop_source()
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
                continue
            pause = _FIRST_PAUSE_SECONDS
            self._begin(taken)

    async def _fetch(self, most: int) -> list[Taken]:
        if self._source is None:
            self._source = await self._parts.open_source()
            self._settling.source = self._source
            _log.info("source_open", source=self._kind)
        return await self._source.fetch(most, self._spec.runtime.timeout_ms / 1000)

    async def _drop_source(self) -> None:
        source, self._source = self._source, None
        self._settling.lost_source()
        if source is not None:
            await source.close()

    def _may_take(self) -> bool:
        if self._is_paused:
            return False
        spool, circuit = self._parts.spool, self._parts.circuit
        if spool is None:
            return not circuit.is_open
        if spool.is_full and spool.spec.on_full == "stop_acking":
            return False
        return spool.spec.mode == "buffer_and_ack" or not self._settling.goes_to_spool

    def _begin(self, taken: list[Taken]) -> None:
        metrics.RECEIVED.labels(self._kind).inc(len(taken))
        dispatch = self._spec.dispatch
        size = dispatch.batch_max if dispatch.batch_dispatch else 1
        for at in range(0, len(taken), size):
            chunk = taken[at : at + size]
            self._settling.take(chunk)
            task = asyncio.create_task(self._dispatched(chunk))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _dispatched(self, chunk: list[Taken]) -> None:
        try:
            await self._dispatch(chunk)
        except Exception as error:  # noqa: BLE001 -- one message must not hold up the others
            _log.error("message_not_settled", exc_info=error)
            self._settling.leave(chunk)

    async def _dispatch(self, chunk: list[Taken]) -> None:
        """Start the executions of some messages, and settle each."""
        spec, control = self._spec, self._parts.control
        starts = [
            start_of(
                one.message,
                identity=one.identity,
                spec=spec,
                path=self._parts.document.path,
                subscription_id=control.subscription_id,
            )
            for one in chunk
        ]
        answers: list[Answer | None] = [None] * len(chunk)
        if not self._settling.goes_to_spool:
            if await self._pace.take(len(chunk)):
                await self._limited("dispatch_rate")
            if len(chunk) > 1:
                answers = await start_many(control, starts)
                metrics.BATCHES.labels(self._kind).inc()
                metrics.BATCHED.labels(self._kind).inc(len(chunk))
            else:
                answers = [await start_one(control, starts[0])]
        await asyncio.gather(
            *(
                self._settling.settle(one, start, answer)
                for one, start, answer in zip(chunk, starts, answers, strict=True)
            )
        )

    async def _watch(self) -> None:
        """Follow the changes of the subscription by operators."""
        while True:
            await asyncio.sleep(self._parts.poll_seconds)
            try:
                state = await self._parts.control.state()
            except ControlPlaneAway as error:
                _log.warning("subscription_state_unknown", reason=str(error))
                continue
            if state in _ENDED:
                _log.info("subscription_ended", state=state)
                self._has_ended.set()
                return
            if self._is_paused != (state == "PAUSED"):
                self._is_paused = state == "PAUSED"
                _log.info("subscription_state", state=state)

    async def _hold(self) -> None:
        """Report to the source, again and again, that its messages are still being worked on."""
        while True:
            await asyncio.sleep(_HOLD_SECONDS)
            held = self._settling.unsettled
            if self._source is None or not held:
                continue
            try:
                await self._source.hold(held)
            except SourceAway as error:
                _log.info("messages_not_held", reason=str(error))

    async def _limited(self, reason: str) -> None:
        metrics.LIMITED.labels(self._kind, reason).inc()
        now = asyncio.get_running_loop().time()
        limits = self._spec.limits
        if not (limits.max_in_flight or limits.max_dispatch_per_sec):
            return
        last = self._limit_noted_at
        if last is not None and now - last < _LIMIT_NOTE_SECONDS:
            return
        self._limit_noted_at = now
        context: JsonObject = {
            "subscription_id": str(self._parts.control.subscription_id),
            "reason": reason,
            "max_in_flight": limits.max_in_flight,
            "max_dispatch_per_sec": limits.max_dispatch_per_sec,
            "action": "stopped_fetching",
            "loss_safe": True,
        }
        await self._parts.control.note(
            "subscription.rate_limited", "ingress", "RATE_LIMITED", context
        )
