"""The fast path: start and outcome as messages."""

import asyncio
from collections.abc import Mapping
from time import monotonic, perf_counter, time
from typing import Literal

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.delivery import Delivery
from noetl_common.bus.rpc import RpcClient, RpcUnavailable
from noetl_common.errors import NoetlError, Permanent
from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.commands import CommandNotification
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.rpc.orchestrator import RUNS_OVER, RunsQuery
from noetl_contract.subjects import rpc_subject

from noetl_worker import metrics
from noetl_worker.commands import (
    Command,
    UndecodableClaim,
    command_of,
    decode_claim,
    decode_notification,
    fresh_until,
    secret_in,
)
from noetl_worker.control_plane.registration import Identity
from noetl_worker.control_plane.result_stores import ResultStore
from noetl_worker.run.reports import Outcome, Reporter
from noetl_worker.run.runner import Runner
from noetl_worker.transports.known_commands import KnownCommands
from noetl_worker.transports.messages import Message, Messages, Place
from noetl_worker.transports.pending_outcomes import PendingOutcomes
from noetl_worker.transports.runs import Runs
from noetl_worker.transports.timing import Timing
from noetl_worker.transports.transport import Transport

_log = get_logger()

_UNREPORTABLE = Outcome(
    error="Execution failed: the control plane refused the result of the tool as unreadable"
)

type Verdict = Literal["refused", "give_back"]


class _Run:
    """A held command: its start may be unanswered, its tool may be running."""

    __slots__ = ("command", "is_lost", "place", "start")

    def __init__(self, command: Command, place: Place) -> None:
        self.command = command
        self.place = place
        self.start: Message | None = None
        self.is_lost = False


class NatsTransport:
    """Start and report by message; commands without the fast part go to the other transport."""

    def __init__(
        self,
        bus: Bus,
        *,
        identity: Identity,
        runner: Runner,
        reporter: Reporter,
        results: ResultStore,
        other: Transport,
        pending_outcomes: PendingOutcomes,
        fast_path: bool = True,
        timing: Timing | None = None,
        runs: Runs | None = None,
    ) -> None:
        self._rpc = RpcClient(bus)
        self._identity = identity
        self._runner = runner
        self._reporter = reporter
        self._results = results
        self._other = other
        self._pending_outcomes = pending_outcomes
        self._fast_path = fast_path
        self._timing = timing or Timing()
        self._runs = runs or Runs()
        self._known = KnownCommands()
        self._messages = Messages(
            bus, identity=identity, pending_outcomes=pending_outcomes, timing=self._timing
        )

    async def register(self) -> bool:
        """Register with the catalog."""
        reply = await self._ask_catalog("runtime.register", self._identity.registration())
        return reply is not None and reply.status == 200

    async def heartbeat(self) -> bool:
        """Send a heartbeat to the catalog; ask the orchestrators which runs are over."""
        reply = await self._ask_catalog("runtime.heartbeat", self._identity.heartbeat())
        for shard in self._runs.shards:
            await self._stop_what_is_over(shard)
        return reply is None or reply.status != 404

    async def _stop_what_is_over(self, shard: int) -> None:
        query = RunsQuery(runs=self._runs.named(shard))
        try:
            found = await self._rpc.ask(
                RUNS_OVER, query, shard=shard, seconds=self._timing.claim_seconds
            )
        except NoetlError as error:
            _log.info("runs_not_asked_for", error=error.message)
            return
        for run in found.over:
            self._runs.stop(run.event_id, attempts=run.attempts)

    async def deregister(self) -> None:
        """Deregister from the catalog."""
        await self._ask_catalog("runtime.deregister", self._identity.deregistration())

    async def _ask_catalog(self, operation: str, request: JsonObject) -> RpcReply | None:
        try:
            reply = await self._rpc.call(
                rpc_subject("catalog", operation), request, seconds=self._timing.claim_seconds
            )
        except RpcUnavailable as error:
            _log.warning("catalog_unanswered", operation=operation, error=error.message)
            return None
        if reply.status >= 300:
            _log.warning(
                "catalog_refused", operation=operation, status=reply.status, error=reply.error
            )
        return reply

    async def handle(self, delivery: Delivery) -> None:
        """Start or claim a command, run it, and publish its outcome."""
        arrived = perf_counter()
        note = decode_notification(delivery.data)
        if note.event_id in self._known:
            await delivery.ack()
            return
        fast = note.fast
        if fast is None:
            await self._other.handle(delivery)
            return
        self._known.hold(note.event_id)
        try:
            run = await self._take(note, delivery, shard=fast.shard)
            if run is not None:
                metrics.PULL_SECONDS.observe(perf_counter() - arrived)
                metrics.PULLS.labels("claimed").inc()
                await self._run(run)
        finally:
            self._known.let_go(note.event_id)

    async def _take(
        self, note: CommandNotification, delivery: Delivery, *, shard: int
    ) -> _Run | None:
        """Get the right to run a command; None when another worker has it."""
        command = command_of(note)
        after_start = False
        if command is not None and self._is_fresh(note, delivery):
            run = _Run(command, Place(shard, note.event_id, command.attempts))
            started = await self._start(run, delivery)
            if started is not None:
                return run if started else None
            after_start = True
        return await self._claim(note, delivery, shard=shard, after_start=after_start)

    def _is_fresh(self, note: CommandNotification, delivery: Delivery) -> bool:
        return (
            self._fast_path
            and delivery.num_delivered == 1
            and note.fast is not None
            and time() < fresh_until(note.fast)
        )

    async def _start(self, run: _Run, delivery: Delivery) -> bool | None:
        """Publish the first start. True: ours. False: given back. None: started already."""
        message = self._start_message(run)
        place = run.place
        for number in range(self._timing.start_tries):
            if number:
                # A refusal comes at once: the next try must not.
                await asyncio.sleep(self._timing.start_try_seconds * number / 4)
            try:
                ack = await self._messages.publish(message, seconds=self._timing.start_try_seconds)
            except Permanent:
                self._messages.forget(message)
                raise
            except NoetlError as error:
                _log.warning("start_not_stored", event_id=place.event_id, error=error.message)
                continue
            if ack.duplicate:
                self._messages.forget(message)
                metrics.FAST_PATH.labels("duplicate").inc()
                return None
            await delivery.ack()
            message.due = monotonic() + self._timing.answer_seconds
            metrics.FAST_PATH.labels("started").inc()
            return True
        self._messages.forget(message)
        metrics.FAST_PATH.labels("nak").inc()
        metrics.PULLS.labels("retry_later").inc()
        await delivery.nak(self._timing.start_nak_seconds)
        return False

    def _start_message(self, run: _Run) -> Message:
        def on_answer(message: Message, status: str | None) -> None:
            if status in {"held", "lost", "refused"}:
                self._messages.forget(message)
                if status == "lost":
                    self._lose(run)

        events = [self._reporter.started(run.command)]
        run.start = self._messages.make(
            "start", run.command, run.place, events=events, on_answer=on_answer
        )
        return run.start

    def _lose(self, run: _Run) -> None:
        """Kill the tool and report nothing: another worker has the command."""
        run.is_lost = True
        metrics.FAST_PATH.labels("lost").inc()
        _log.warning("command_lost", command_id=run.command.command_id)
        self._runs.stop(run.place.event_id, attempts=run.place.attempts)

    async def _claim(
        self, note: CommandNotification, delivery: Delivery, *, shard: int, after_start: bool
    ) -> _Run | None:
        answer = await self._ask_for_command(note, shard=shard, after_start=after_start)
        if answer == "refused":
            metrics.PULLS.labels("already_claimed").inc()
            await delivery.ack()
            return None
        if answer == "give_back":
            metrics.PULLS.labels("retry_later").inc()
            metrics.FAST_PATH.labels("nak").inc()
            await delivery.nak(self._timing.claim_nak_seconds)
            return None
        await delivery.ack()
        metrics.FAST_PATH.labels("claimed").inc()
        run = _Run(answer, Place(shard, note.event_id, answer.attempts))
        message = self._start_message(run)
        # The first id is the token of starts without a claim.
        message.tries = 1
        message.due = monotonic() + self._timing.answer_seconds
        await self._messages.publish_quietly([message])
        return run

    async def _ask_for_command(
        self, note: CommandNotification, *, shard: int, after_start: bool
    ) -> Command | Verdict:
        timing = self._timing
        subject = rpc_subject("orchestrator", "claim", shard=shard)
        fence = secret_in(note.server_url)
        request = orjson.dumps(
            {
                "execution_id": note.execution_id,
                "event_id": note.event_id,
                "worker_id": self._identity.worker_id,
                "instance": self._identity.instance,
                "after_start": after_start,
                **({"fence": fence} if fence else {}),
            }
        )
        first = timing.claim_pause_seconds
        # If the start was stored no other worker can get the command: never give it away.
        async for _ in backoff(
            first_seconds=first,
            longest_seconds=first if after_start else timing.claim_longest_pause_seconds,
            total_seconds=None if after_start else timing.claim_give_up_seconds,
        ):
            verdict = await self._ask_once(subject, request, note)
            if verdict is not None:
                return verdict
        return "give_back"

    async def _ask_once(
        self, subject: str, request: bytes, note: CommandNotification
    ) -> Command | Verdict | None:
        """Ask once; None means: ask again."""
        try:
            reply = await self._rpc.call(subject, request, seconds=self._timing.claim_seconds)
        except RpcUnavailable as error:
            _log.info("claim_unanswered", event_id=note.event_id, error=error.message)
            return None
        if reply.status == 409:
            return "refused"
        body = reply.body
        if reply.status >= 300 or (isinstance(body, Mapping) and body.get("status") == "retry"):
            return None
        try:
            return decode_claim(body, note)
        except UndecodableClaim as error:
            _log.error("claim_undecodable", event_id=note.event_id, error=error.message)
            return None

    async def _run(self, run: _Run) -> None:
        """Run the tool and publish the outcome, unless the command is lost."""
        outcome = await self._run_unless_lost(run)
        if run.start is not None:
            self._messages.forget(run.start)
        if outcome is None:
            return
        message = self._outcome_message(run, outcome)
        # Remembered before it can be answered: the answer may take it back.
        self._known.finish(run.place.event_id)
        await self._publish_outcome(message, run, outcome)
        await self._pending_outcomes.room()

    async def _run_unless_lost(self, run: _Run) -> Outcome | None:
        if run.is_lost:
            return None
        work = self._runner.run(run.command, self._results)
        return await self._runs.until_over(run.command, work)

    def _outcome_message(self, run: _Run, outcome: Outcome) -> Message:
        def on_answer(message: Message, status: str | None) -> None:
            if status == "refused":
                self._refused(message, run, outcome)
            elif status in {"ok", "late"}:
                self._messages.forget(message)
            if status == "late":
                # Another worker has it now; it may come back should that worker lose it.
                self._known.release(message.place.event_id)

        command = run.command
        events = [self._reporter.started(command), *self._reporter.ended(command, outcome)]
        return self._messages.make(
            "outcome", command, run.place, events=events, on_answer=on_answer
        )

    def _refused(self, message: Message, run: _Run, outcome: Outcome) -> None:
        """Report that the outcome is unreportable: it would be refused for ever."""
        self._messages.forget(message)
        event_id = message.place.event_id
        if outcome is _UNREPORTABLE:
            _log.error("outcome_dropped", event_id=event_id)
            return
        _log.error("outcome_refused", event_id=event_id, size=len(message.body))
        # Due at once, under an id that the refused one did not have.
        instead = self._outcome_message(run, _UNREPORTABLE)
        instead.tries = message.tries
        instead.pause = self._timing.answer_seconds
        instead.due = monotonic()

    async def _publish_outcome(self, message: Message, run: _Run, outcome: Outcome) -> None:
        """Publish until the broker has stored it; it stays in memory until it is answered."""
        timing = self._timing
        place = message.place
        async for _ in backoff(
            first_seconds=timing.outcome_pause_seconds,
            longest_seconds=timing.outcome_longest_pause_seconds,
        ):
            if message not in self._messages:
                return
            try:
                await self._messages.publish(message, seconds=timing.outcome_try_seconds)
            except Permanent:
                self._refused(message, run, outcome)
                return
            except NoetlError as error:
                _log.warning("outcome_not_stored", event_id=place.event_id, error=error.message)
                continue
            message.pause = timing.answer_seconds
            message.due = monotonic() + message.pause
            return

    async def run_confirmations(self) -> None:
        """Publish unanswered messages again."""
        await self._messages.run_confirmations()

    async def settle(self, *, seconds: float) -> None:
        """Wait for the answers to the outcomes."""
        try:
            async with asyncio.timeout(seconds):
                await self._pending_outcomes.emptied()
        except TimeoutError:
            _log.warning("outcomes_unanswered", count=self._pending_outcomes.count)
