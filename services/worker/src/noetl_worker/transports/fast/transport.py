"""The fast path: commands begin without a claim, and are reported in one message or two."""

import asyncio
from contextlib import nullcontext
from functools import partial
from time import monotonic, perf_counter

from noetl_bus.consumers.delivery import Delivery
from noetl_bus.consumers.permits import Permits, current_permits, permit_released
from noetl_common.errors import Permanent
from noetl_common.logging import get_logger
from noetl_common.telemetry.tracing import tracing
from noetl_common.telemetry.work import working_on
from noetl_contract.commands import CommandNotification

from noetl_worker import metrics
from noetl_worker.commands import command_of, decode_notification
from noetl_worker.run.reports import Outcome
from noetl_worker.traces import taken
from noetl_worker.transports.fast.claims import Claims
from noetl_worker.transports.fast.delayed_start import DelayedStart
from noetl_worker.transports.fast.message import Message
from noetl_worker.transports.fast.messages import Messages
from noetl_worker.transports.fast.run import Run, RunState, is_timely, run_of
from noetl_worker.transports.hearing import Hearing
from noetl_worker.transports.known_commands import KnownCommands
from noetl_worker.transports.transport import Control, Transport
from noetl_worker.transports.work import Work

_log = get_logger()
_CLAIMED = metrics.PULLS.labels("claimed")
_QUICK = metrics.FAST_PATH.labels("quick")
_NEXT = metrics.FAST_PATH.labels("next")
_TAKEN = frozenset({"held", "lost", "ok", "late"})
"""Answers of an orchestrator that decides."""

_UNREPORTABLE = Outcome(
    error="Execution failed: the control plane refused the result of the tool as unreadable"
)


class FastTransport:
    """Take commands by their notifications; what can't be done so goes to the other transport.

    A `Run` goes through it; what may happen to that is in `RunState`.

    Args:
        messages: starts and outcomes on their way.
        claims: asks for commands that may be another worker's already.
        control: registers the worker.
        work: runs the tools.
        other: takes commands without the fast part, and all while the channel is closed.
        hearing: tells which notifications are in doubt.
        fast_path: whether commands may begin without a claim.
    """

    def __init__(
        self,
        messages: Messages,
        *,
        claims: Claims,
        control: Control,
        work: Work,
        other: Transport,
        hearing: Hearing,
        fast_path: bool = True,
    ) -> None:
        self._messages = messages
        self._claims = claims
        self._control = control
        self._work = work
        self._other = other
        self._hearing = hearing
        self._fast_path = fast_path
        self._timing = messages.timing
        self._pending_outcomes = messages.pending_outcomes
        self._runs = work.runs
        self._known = KnownCommands()
        self._asking = 0

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
        if note.fast is None:
            await self._other.handle(delivery)
            return
        held = note.event_id
        self._known.hold(held, delivery)
        try:
            run = await self._take(note, delivery)
            next_until = monotonic() + self._timing.next_seconds
            if run is not None:
                metrics.PULL_SECONDS.observe(perf_counter() - arrived)
                _CLAIMED.inc()
            while run is not None:
                await self._run(run, next_until=next_until)
                self._known.let_go(held, delivery)
                following = run.following
                run = None
                if following is not None and not self._is_known(following):
                    held = following.command.event_id
                    self._known.hold(held, delivery)
                    run = await self._still_ours(following)
        finally:
            self._known.let_go(held, delivery)

    async def _take(self, note: CommandNotification, delivery: Delivery) -> Run | None:
        """Get the right to run a command; None when another worker has it."""
        command = command_of(note, self._claims.workloads)
        if (
            command is not None
            and self._fast_path
            and delivery.num_delivered == 1
            and self._hearing.covers(delivery.stream_sequence)
            and is_timely(note, self._hearing.clock.now())
        ):
            return Run(command, note, delivery=delivery)
        return await self._claim(note, delivery)

    def _is_known(self, run: Run) -> bool:
        """Return whether a command that came with an answer is another handler's, or was run."""
        return run.state is RunState.FRESH and run.command.event_id in self._known

    async def _still_ours(self, run: Run) -> Run | None:
        """Claim a command that came with an answer if it is in doubt by now.

        That is so if its end may have been missed since, and if the relay may have published it.
        None where another worker has it.
        """
        if run.state is not RunState.FRESH:
            return run
        is_overdue = not is_timely(run.note, self._hearing.clock.now())
        if is_overdue:
            metrics.FAST_PATH.labels("overdue").inc()
        elif run.breaks == self._hearing.breaks:
            return run
        return await self._claim(run.note, None)

    async def _claim(self, note: CommandNotification, delivery: Delivery | None) -> Run | None:
        answer = await self._claims.ask(note, after_start=False)
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
        run = Run(answer, note, RunState.CLAIMED)
        await self._confirm(run)
        return run

    async def _confirm(self, run: Run) -> None:
        """Publish the start of a claimed run."""
        await self._messages.publish_claimed_start(self._start_of(run))

    def _start_of(self, run: Run) -> Message:
        return self._messages.start_of(run, partial(self._on_start_answer, run))

    async def wake(self) -> None:
        """Try again at once what was not answered: the other side is there again."""
        self._wake()

    def _wake(self) -> None:
        self._claims.wake()
        self._messages.wake()

    def _on_start_answer(
        self, run: Run, message: Message, status: str | None, _: bytes | None
    ) -> None:
        if status in _TAKEN:
            self._wake()
        if status in {"held", "lost", "refused"}:
            self._messages.forget(message)
            if status == "lost":
                self._lose(run)

    async def _start_meanwhile(self, run: Run) -> None:
        """Report a run whose tool is at work for a while; stop it if it is another worker's."""
        run.become(RunState.STARTED)
        match await self._messages.publish_start(self._start_of(run)):
            case "stored":
                await run.acknowledge()
            case "duplicate":
                metrics.FAST_PATH.labels("duplicate").inc()
                await self._claim_meanwhile(run)
            case "unsure":
                # Should this worker end, another one gets the command.
                pass

    async def _claim_meanwhile(self, run: Run) -> None:
        """Ask whose a command is that was started before, while its tool is at work here."""
        answer = await self._claims.ask(run.note, after_start=True)
        if isinstance(answer, str):
            metrics.PULLS.labels("already_claimed").inc()
            self._lose(run)
        elif answer.attempts == run.command.attempts:
            run.become(RunState.CLAIMED)
            await self._confirm(run)
        else:
            # Handed out again meanwhile, to this worker: that run begins when this one has ended.
            run.following = Run(answer, run.note, RunState.CLAIMED)
            await self._confirm(run.following)
            self._lose(run)
        await run.acknowledge()

    def _lose(self, run: Run) -> None:
        """Kill the tool and report nothing: another worker has the command."""
        run.become(RunState.LOST)
        metrics.FAST_PATH.labels("lost").inc()
        _log.warning("command_lost", command_id=run.command.command_id)
        self._runs.stop(run.command.event_id, attempts=run.command.attempts)

    async def _run(self, run: Run, *, next_until: float) -> None:
        """Run the tool and publish the outcome, unless the command is lost.

        A tool that ends quickly is told of by its outcome alone. Until a moment the answer may
        bring the next command.
        """
        outcome, start = None, None
        if run.state is RunState.FRESH:
            working_on(run.note)
            start = DelayedStart(
                self._timing.start_after_seconds, partial(self._start_meanwhile, run)
            )
        try:
            if run.state is not RunState.LOST:
                self._messages.begin(run)
                run.command.may_move = True
                outcome = await self._work.on(run.command)
        finally:
            if start is not None:
                start.end()
            if run.start is not None:
                self._messages.forget(run.start)
        if outcome is not None:
            await self._report(run, outcome, next_until=next_until)
        else:
            run.become(RunState.LOST)
            await run.acknowledge()

    async def _report(self, run: Run, outcome: Outcome, *, next_until: float) -> None:
        """Publish the outcome until it is stored; it stays in memory until it is answered."""
        if run.state is RunState.FRESH:
            _QUICK.inc()
        run.become(RunState.REPORTED)
        run.breaks = self._hearing.breaks
        slots = current_permits()
        message = self._outcome_of(run, outcome, slots)
        asks = message.wants_next = self._may_follow(run, slots) and monotonic() < next_until
        self._asking += asks
        # Remembered before it can be answered: the answer may take it back.
        self._known.finish(run.command.event_id)
        try:
            # The wait for the answer needs no slot. But without room a slot stays taken, or
            # outcomes that nobody stores would be without a bound.
            with permit_released() if self._pending_outcomes.has_room else nullcontext():
                await self._messages.publish_outcome(message)
        except Permanent:
            self._refused(run, message, slots)
        finally:
            self._asking -= asks
            message.wants_next = False
        if run.following is not None and run.following.state is RunState.FRESH:
            await self._keep_next(run, message, slots)
        await run.acknowledge()
        await self._pending_outcomes.room()

    async def _keep_next(self, run: Run, message: Message, slots: Permits | None) -> None:
        """Wait for a slot for the command that came with an answer, or let others have it."""
        if slots is None or await slots.regain(self._timing.next_wait_seconds):
            self._messages.forget(message)
            _NEXT.inc()
            return
        metrics.FAST_PATH.labels("crowded").inc()
        run.following = None
        self._messages.repeat(message)

    def _outcome_of(self, run: Run, outcome: Outcome, slots: Permits | None) -> Message:
        return self._messages.outcome_of(run, outcome, partial(self._on_outcome_answer, run, slots))

    def _on_outcome_answer(
        self,
        run: Run,
        slots: Permits | None,
        message: Message,
        status: str | None,
        next_note: bytes | None,
    ) -> None:
        if status in _TAKEN:
            self._wake()
        if status == "refused":
            self._refused(run, message, slots)
        elif status in {"ok", "late"} and self._takes_next(run, message, next_note, slots):
            self._messages.forget(message)
        if status == "late":
            # Another worker has it now; it may come back should that worker lose it.
            self._known.release(run.command.event_id)

    def _may_follow(self, run: Run, slots: Permits | None) -> bool:
        """Return whether another command may come with the answer: where runs need no claim.

        Not while commands that came so wait for a slot: others may have one to spare. The spans of
        a traced command begin with its delivery.
        """
        return (
            self._fast_path
            and run.following is None
            and self._asking < self._timing.next_at_once
            and not (slots is not None and (slots.is_crowded or slots.is_over))
            and tracing() is None
        )

    def _takes_next(
        self, run: Run, message: Message, note: bytes | None, slots: Permits | None
    ) -> bool:
        """Take the command that came with an answer; return whether the outcome is done with.

        What can't be run here any more makes the outcome go out again: its answer lets others have
        the command. So it is kept until there is a slot for it.
        """
        if note is None:
            return True
        if run.following is not None:
            return False
        # A worker that was told to stop takes no more.
        is_wanted = message.wants_next and not (slots is not None and slots.is_over)
        message.wants_next = False
        following = run_of(note, self._claims.workloads) if is_wanted else None
        if following is None:
            self._messages.repeat(message)
            return False
        if following.command.event_id in self._known:
            return True
        # The end may have come while the answer was on its way.
        following.breaks = run.breaks
        run.following = following
        message.settle()
        return False

    def _refused(self, run: Run, message: Message, slots: Permits | None) -> None:
        """Report that the outcome is unreportable: it would be refused for ever."""
        if not self._messages.forget(message):
            return  # an answer has told so, and now the sending
        event_id = run.command.event_id
        if run.state is RunState.REFUSED:
            _log.error("outcome_dropped", event_id=event_id)
            return
        _log.error("outcome_refused", event_id=event_id, size=len(message.body))
        run.become(RunState.REFUSED)
        # Due at once, under an id that the refused one did not have.
        instead = self._outcome_of(run, _UNREPORTABLE, slots)
        instead.tries = message.tries
        self._messages.repeat(instead)

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
