"""The fast path: commands begin without a claim, and are reported in one message or two."""

import asyncio
from time import monotonic, perf_counter, time

from noetl_common.bus.delivery import Delivery
from noetl_common.bus.permits import Permits, current_permits, permit_lent
from noetl_common.errors import Permanent
from noetl_common.logging import get_logger
from noetl_common.telemetry.tracing import tracing
from noetl_common.telemetry.work import working_on
from noetl_contract.commands import CommandNotification
from noetl_contract.ingress import WireEvent

from noetl_worker import metrics
from noetl_worker.commands import command_of, decode_notification, fresh_until
from noetl_worker.control_plane.registration import Identity
from noetl_worker.control_plane.result_stores import ResultStore
from noetl_worker.run.reports import Outcome, Reporter
from noetl_worker.run.runner import Runner
from noetl_worker.traces import taken
from noetl_worker.transports.fast.channel import Channel, Claims, Control
from noetl_worker.transports.fast.delayed_start import DelayedStart
from noetl_worker.transports.fast.message import Message, Place
from noetl_worker.transports.fast.messages import Messages
from noetl_worker.transports.fast.pending_outcomes import PendingOutcomes
from noetl_worker.transports.fast.run import Run, run_of
from noetl_worker.transports.fast.timing import Timing
from noetl_worker.transports.hearing import Hearing
from noetl_worker.transports.known_commands import KnownCommands
from noetl_worker.transports.runs import Runs
from noetl_worker.transports.transport import Transport

_log = get_logger()
_CLAIMED = metrics.PULLS.labels("claimed")
_QUICK = metrics.FAST_PATH.labels("quick")
_NEXT = metrics.FAST_PATH.labels("next")

_UNREPORTABLE = Outcome(
    error="Execution failed: the control plane refused the result of the tool as unreadable"
)


class FastTransport:
    """Take commands by their notifications; what can't be done so goes to the other transport.

    Args:
        channel: the way of starts and outcomes to the orchestrator.
        claims: asks for commands that may be another worker's already.
        control: registers the worker.
        hearing: tells which notifications are in doubt; without it all are.
        other: takes commands without the fast part, and all while the channel is closed.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        claims: Claims,
        control: Control,
        identity: Identity,
        runner: Runner,
        reporter: Reporter,
        results: ResultStore,
        other: Transport,
        pending_outcomes: PendingOutcomes,
        fast_path: bool = True,
        timing: Timing | None = None,
        runs: Runs | None = None,
        hearing: Hearing | None = None,
    ) -> None:
        self._channel = channel
        self._claims = claims
        self._control = control
        self._runner = runner
        self._reporter = reporter
        self._results = results
        self._other = other
        self._pending_outcomes = pending_outcomes
        self._fast_path = fast_path
        self._timing = timing or Timing()
        self._runs = runs or Runs()
        self._hearing = hearing or Hearing()
        self._known = KnownCommands()
        self._asking = 0
        self._messages = Messages(
            channel, identity=identity, pending_outcomes=pending_outcomes, timing=self._timing
        )

    async def register(self) -> bool:
        """Register the worker."""
        return await self._control.register()

    async def heartbeat(self) -> bool:
        """Send a heartbeat, and stop the runs that are over."""
        return await self._control.heartbeat()

    async def deregister(self) -> None:
        """Deregister the worker."""
        await self._control.deregister()

    async def handle(self, delivery: Delivery) -> None:
        """Take a command, run it, and publish its outcome."""
        arrived = perf_counter()
        note = decode_notification(delivery.data)
        taken(note, delivery)
        if note.event_id in self._known:
            await delivery.ack()
            return
        fast = note.fast
        if fast is None or not self._channel.is_open:
            await self._other.handle(delivery)
            return
        held = note.event_id
        self._known.hold(held)
        try:
            run = await self._take(note, delivery, shard=fast.shard)
            next_until = monotonic() + self._timing.next_seconds
            if run is not None:
                metrics.PULL_SECONDS.observe(perf_counter() - arrived)
                _CLAIMED.inc()
            while run is not None:
                await self._run(run, next_until=next_until)
                self._known.let_go(held)
                run = run.following
                if run is not None and run.is_overdue:
                    # The relay publishes it now.
                    metrics.FAST_PATH.labels("overdue").inc()
                    run = None
                if run is not None:
                    held = run.place.event_id
                    self._known.hold(held)
                    run = await self._undoubted(run)
        finally:
            self._known.let_go(held)

    async def _undoubted(self, run: Run) -> Run | None:
        """Claim a command that came with an answer if its end may have been missed since."""
        if run.untold is None or not run.is_handed or run.breaks == self._hearing.breaks:
            return run
        note, place = run.untold[0], run.place
        return await self._claim(note, None, shard=place.shard)

    async def _take(
        self, note: CommandNotification, delivery: Delivery, *, shard: int
    ) -> Run | None:
        """Get the right to run a command; None when another worker has it."""
        command = command_of(note, self._claims.workloads)
        if command is not None and self._is_fresh(note, delivery):
            place = Place(shard, note.event_id, command.attempts)
            return Run(command, place, untold=(note, delivery))
        return await self._claim(note, delivery, shard=shard)

    def _is_fresh(self, note: CommandNotification, delivery: Delivery) -> bool:
        return (
            self._fast_path
            and delivery.num_delivered == 1
            and self._hearing.covers(delivery.stream_sequence)
            and note.fast is not None
            and time() < fresh_until(note.fast)
        )

    async def _start_meanwhile(self, run: Run) -> None:
        """Tell of a run whose tool is at work for a while; stop it if it is another worker's."""
        message = self._start_message(run)
        try:
            is_first = await self._messages.publish_start(message)
        except Permanent as error:
            # Its outcome will be refused in the same way, and says so.
            _log.error("start_refused", event_id=run.place.event_id, error=error.message)
            return
        if is_first is None:
            # Not acknowledged: should this worker end, another one gets the command.
            message.tries = 1
            message.due = monotonic() + self._timing.answer_seconds
        elif not is_first:
            self._messages.forget(message)
            metrics.FAST_PATH.labels("duplicate").inc()
            await self._claim_meanwhile(run)
        else:
            message.due = monotonic() + self._timing.answer_seconds
            await run.acknowledge()

    async def _claim_meanwhile(self, run: Run) -> None:
        """Ask whose a command is that was started before, while its tool is at work here."""
        if run.untold is None:
            return
        note, _ = run.untold
        answer = await self._claims.ask(note, shard=run.place.shard, after_start=True)
        if isinstance(answer, str):
            metrics.PULLS.labels("already_claimed").inc()
            self._lose(run)
        elif answer.attempts == run.place.attempts:
            await self._confirm(run)
        else:
            # Handed out again meanwhile, to this worker: that run begins when this one has ended.
            run.following = Run(answer, Place(run.place.shard, note.event_id, answer.attempts))
            await self._confirm(run.following)
            self._lose(run)
        await run.acknowledge()

    def _start_message(self, run: Run) -> Message:
        def on_answer(message: Message, status: str | None) -> None:
            if status in {"held", "lost", "refused"}:
                self._messages.forget(message)
                if status == "lost":
                    self._lose(run)

        run.start = self._messages.make(
            "start", run.command, run.place, events=[self._started(run)], on_answer=on_answer
        )
        return run.start

    def _started(self, run: Run) -> WireEvent:
        """Return `command.started`, the same in the start and in the outcome."""
        if run.started is None:
            run.started = self._reporter.started(run.command)
        return run.started

    def _lose(self, run: Run) -> None:
        """Kill the tool and report nothing: another worker has the command."""
        run.is_lost = True
        metrics.FAST_PATH.labels("lost").inc()
        _log.warning("command_lost", command_id=run.command.command_id)
        self._runs.stop(run.place.event_id, attempts=run.place.attempts)

    async def _claim(
        self, note: CommandNotification, delivery: Delivery | None, *, shard: int
    ) -> Run | None:
        answer = await self._claims.ask(note, shard=shard, after_start=False)
        if answer == "give_back":
            metrics.PULLS.labels("retry_later").inc()
            metrics.FAST_PATH.labels("nak").inc()
            if delivery is not None:
                await delivery.nak(self._timing.claim_nak_seconds)
            return None
        if delivery is not None:
            await delivery.ack()
        if answer == "refused":
            metrics.PULLS.labels("already_claimed").inc()
            return None
        metrics.FAST_PATH.labels("claimed").inc()
        run = Run(answer, Place(shard, note.event_id, answer.attempts))
        await self._confirm(run)
        return run

    async def _confirm(self, run: Run) -> None:
        """Publish the start of a claimed run."""
        message = self._start_message(run)
        # The first id is the token of starts without a claim.
        message.tries = 1
        message.due = monotonic() + self._timing.answer_seconds
        await self._messages.publish_quietly([message])

    async def _run(self, run: Run, *, next_until: float) -> None:
        """Run the tool and publish the outcome, unless the command is lost.

        A tool that ends quickly is told of by its outcome alone. Until a moment the answer may
        bring the next command.
        """
        if run.untold is not None:
            working_on(run.untold[0])
        start = self._start_later(run) if run.untold is not None else None
        try:
            outcome = await self._run_unless_lost(run)
        finally:
            if start is not None:
                start.end()
        if run.start is not None:
            self._messages.forget(run.start)
        if outcome is None:
            await run.acknowledge()
            return
        message = self._outcome_message(run, outcome)
        asks = message.wants_next = self._may_follow(run) and monotonic() < next_until
        self._asking += asks
        # Remembered before it can be answered: the answer may take it back.
        self._known.finish(run.place.event_id)
        if run.start is None:
            _QUICK.inc()
        try:
            if not self._pending_outcomes.has_room:
                # A slot stays taken, or outcomes that nobody stores would be without a bound.
                await self._publish_outcome(message, run, outcome)
            else:
                # The wait for the answer needs no slot.
                with permit_lent():
                    await self._publish_outcome(message, run, outcome)
        finally:
            self._asking -= asks
            message.wants_next = False
        if run.following is not None and run.following.is_handed:
            await self._keep_next(message, run)
        await run.acknowledge()
        await self._pending_outcomes.room()

    async def _keep_next(self, message: Message, run: Run) -> None:
        """Wait for a slot for the command that came with an answer, or let others have it."""
        slots = current_permits()
        if slots is None or await slots.regain(self._timing.next_wait_seconds):
            self._messages.forget(message)
            _NEXT.inc()
            return
        metrics.FAST_PATH.labels("crowded").inc()
        run.following = None
        self._send_again(message)

    def _start_later(self, run: Run) -> DelayedStart:
        """Publish the start of a run that nobody was told of, unless it ends before that."""
        return DelayedStart(self._timing.start_after_seconds, lambda: self._start_meanwhile(run))

    async def _run_unless_lost(self, run: Run) -> Outcome | None:
        if run.is_lost:
            return None
        self._started(run)
        run.command.may_move = True
        work = self._runner.run(run.command, self._results)
        return await self._runs.until_over(run.command, work)

    def _outcome_message(self, run: Run, outcome: Outcome) -> Message:
        slots = current_permits()

        def on_answer(message: Message, status: str | None) -> None:
            if status == "refused":
                self._refused(message, run, outcome)
            elif status in {"ok", "late"} and self._takes_next(message, run, slots):
                self._messages.forget(message)
            if status == "late":
                # Another worker has it now; it may come back should that worker lose it.
                self._known.release(message.place.event_id)

        command = run.command
        events = [self._started(run), *self._reporter.ended(command, outcome)]
        return self._messages.make(
            "outcome", command, run.place, events=events, on_answer=on_answer
        )

    def _may_follow(self, run: Run) -> bool:
        """Return whether another command may come with the answer: where runs need no claim.

        Not while commands that came so wait for a slot: others may have one to spare. The spans of
        a traced command begin with its delivery.
        """
        slots = current_permits()
        return (
            self._fast_path
            and run.following is None
            and self._asking < self._timing.next_at_once
            and not (slots is not None and slots.is_crowded)
            and not _is_over(slots)
            and tracing() is None
        )

    def _takes_next(self, message: Message, run: Run, slots: Permits | None) -> bool:
        """Take the command that came with an answer; tell whether the outcome is done with.

        What can't be run here any more makes the outcome go out again: its answer lets others have
        the command. So it is kept until there is a slot for it.
        """
        if message.next is None:
            return True
        if run.following is not None:
            return False
        is_wanted = message.wants_next and not _is_over(slots)
        message.wants_next = False
        following = run_of(message.next, self._claims.workloads) if is_wanted else None
        if following is None:
            self._send_again(message)
            return False
        if following.place.event_id in self._known:
            return True
        following.breaks = self._hearing.breaks
        run.following = following
        message.settle()
        return False

    def _send_again(self, message: Message) -> None:
        message.pause = self._timing.answer_seconds
        message.due = monotonic()

    def _refused(self, message: Message, run: Run, outcome: Outcome) -> None:
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

    async def _publish_outcome(self, message: Message, run: Run, outcome: Outcome) -> None:
        """Publish until it is stored; it stays in memory until it is answered."""
        try:
            await self._messages.publish_until_stored(message)
        except Permanent:
            self._refused(message, run, outcome)

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


def _is_over(slots: Permits | None) -> bool:
    """Return whether the worker was told to stop: then it takes no more commands."""
    return slots is not None and slots.is_over
