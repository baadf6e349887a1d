"""Starts and outcomes of runs, repeated until they are answered."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Literal

from msgspec import UNSET, Raw, UnsetType
from msgspec.json import Decoder
from noetl_common.errors import NoetlError, Permanent
from noetl_common.logging import get_logger
from noetl_common.retry import Wake, backoff
from noetl_contract.ingress import CommandOutcomeMessage, CommandStartMessage, Hold, WireEvent
from noetl_contract.message_ids import report_id
from noetl_contract.model import Struct, decode

from noetl_worker import jsonb, metrics
from noetl_worker.commands import Command
from noetl_worker.control_plane.registration import Identity
from noetl_worker.run.reports import Outcome, Reporter
from noetl_worker.transports.fast.channel import Channel
from noetl_worker.transports.fast.message import Kind, Message
from noetl_worker.transports.fast.pending_outcomes import PendingOutcomes
from noetl_worker.transports.fast.run import Run
from noetl_worker.transports.fast.timing import Timing

_log = get_logger()

type Stored = Literal["stored", "duplicate", "unsure"]
"""What became of a start: one with its id may have been there before, or nobody can tell."""
type OnAnswer = Callable[[Message, str | None, bytes | None], None]
"""Gets the status of an answer, None for nonsense, and the notification that came with it."""


class Messages:
    """Messages that wait for their answer, by its name.

    Attributes:
        channel: the way of starts and outcomes to the orchestrator.
        pending_outcomes: the bound on outcomes among them.
        timing: timeouts and pauses.
        wake: ends the pauses of outcomes that could not be stored.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        identity: Identity,
        reporter: Reporter,
        pending_outcomes: PendingOutcomes,
        timing: Timing,
    ) -> None:
        self.channel = channel
        self.pending_outcomes = pending_outcomes
        self.timing = timing
        self.wake = Wake()
        self._identity = identity
        self._reporter = reporter
        self._waiting: dict[str, Message] = {}

    def begin(self, run: Run) -> WireEvent:
        """Return `command.started`, the same in the start and in the outcome."""
        if run.started is None:
            run.started = self._reporter.started(run.command)
        return run.started

    def start_of(self, run: Run, on_answer: OnAnswer) -> Message:
        """Write the start of a run and listen for its answers."""
        run.start = self._make("start", run.command, [self.begin(run)], on_answer)
        return run.start

    def outcome_of(self, run: Run, outcome: Outcome, on_answer: OnAnswer) -> Message:
        """Write the outcome of a run and listen for its answers."""
        events = [self.begin(run), *self._reporter.ended(run.command, outcome)]
        message = self._make("outcome", run.command, events, on_answer)
        self.pending_outcomes.add(len(message.body))
        return message

    def _make(
        self, kind: Kind, command: Command, events: list[WireEvent], on_answer: OnAnswer
    ) -> Message:
        hold = Hold(
            event_id=command.event_id,
            command_id=command.command_id,
            step=command.step,
            attempts=command.attempts,
            worker_id=self._identity.worker_id,
            instance=self._identity.instance,
            fence=command.fence or None,
        )
        form = CommandStartMessage if kind == "start" else CommandOutcomeMessage
        body = jsonb.encode_message(
            form(execution_id=command.execution_id, hold=hold, events=events)
        )
        message = Message(kind, command, body)
        message.reply = self.channel.open(message, lambda body: on_answer(message, *_read(body)))
        self._waiting[message.reply] = message
        return message

    def forget(self, message: Message) -> bool:
        """Send it no more; return False if that was so already."""
        if self._waiting.pop(message.reply, None) is None:
            return False
        self.channel.forget(message)
        if message.kind == "outcome":
            self.pending_outcomes.remove(len(message.body))
        return True

    async def publish_start(self, message: Message) -> Stored:
        """Publish a start until it is stored, and then until it is answered.

        It is forgotten if it is not the first with its id, and if it will never be taken: its
        outcome will be refused in the same way.
        """
        metrics.FAST_PATH.labels("started").inc()
        event_id = message.command.event_id
        for number in range(self.timing.start_tries):
            if number:
                # A refusal comes at once: the next try must not.
                await asyncio.sleep(self.timing.start_try_seconds * number / 4)
                if message.reply not in self._waiting:
                    return "stored"  # it was answered meanwhile
            try:
                is_first = await self._publish(message, seconds=self.timing.start_try_seconds)
            except Permanent as error:
                self.forget(message)
                _log.error("start_refused", event_id=event_id, error=error.message)
                return "unsure"
            except NoetlError as error:
                _log.warning("start_not_stored", event_id=event_id, error=error.message)
                continue
            if not is_first:
                self.forget(message)
                return "duplicate"
            self._await_answer(message)
            return "stored"
        message.tries = 1
        self._await_answer(message)
        return "unsure"

    async def publish_claimed_start(self, message: Message) -> None:
        """Publish the start of a claimed run until it is answered."""
        # The first id is the token of starts without a claim.
        message.tries = 1
        self._await_answer(message)
        await self._publish_again([message])

    async def publish_outcome(self, message: Message) -> None:
        """Publish until it is stored or answered; from then on it is repeated until answered.

        Cut off at the end of the drain, it goes on being repeated while the answers are waited for.

        Raises:
            Permanent: it will never be taken.
        """
        timing = self.timing
        try:
            async for _ in backoff(
                first_seconds=timing.outcome_pause_seconds,
                longest_seconds=timing.outcome_longest_pause_seconds,
                wake=self.wake,
            ):
                if message.reply not in self._waiting:
                    return
                try:
                    await self._publish(message, seconds=timing.outcome_try_seconds)
                except Permanent:
                    raise
                except NoetlError as error:
                    event_id = message.command.event_id
                    _log.warning("outcome_not_stored", event_id=event_id, error=error.message)
                    continue
                self._await_answer(message)
                return
        except Permanent:
            raise
        except BaseException:  # or it would be neither stored nor sent again
            self.repeat(message)
            raise

    def repeat(self, message: Message) -> None:
        """Have an outcome sent again with the next look."""
        message.pause = self.timing.answer_seconds
        message.due = monotonic()

    def _await_answer(self, message: Message) -> None:
        message.pause = self.timing.answer_seconds
        message.due = monotonic() + message.pause

    async def _publish(self, message: Message, *, seconds: float) -> bool:
        return await self.channel.send(message, self._id_of(message), seconds=seconds)

    async def _publish_again(self, messages: list[Message]) -> None:
        await self.channel.send_again([(one, self._id_of(one)) for one in messages])

    async def run_confirmations(self) -> None:
        """Publish unanswered messages again, under the next message id."""
        while True:
            await asyncio.sleep(self.timing.look_seconds)
            await self.look()

    async def look(self) -> None:
        """Publish again what is due."""
        now = monotonic()
        due = [one for one in self._waiting.values() if one.due and one.due <= now]
        if due:
            for message in due:
                message.tries += 1
                self._set_next_due(message, now)
            await self._publish_again(due)

    def _set_next_due(self, message: Message, now: float) -> None:
        if message.kind == "outcome":
            message.pause = min(message.pause * 2, self.timing.longest_repeat_seconds)
        message.due = now + message.pause

    def _id_of(self, message: Message) -> str:
        return report_id(
            message.kind,
            message.command.event_id,
            attempts=message.command.attempts,
            instance=self._identity.instance,
            tries=message.tries,
        )


class _Answer(Struct):
    """An answer of an orchestrator, or a refusal of an edge."""

    status: str | int
    next: Raw | UnsetType = UNSET


_ANSWER = Decoder(_Answer)


def _read(data: bytes) -> tuple[str | None, bytes | None]:
    """Return the status of an answer, and the notification that came with it."""
    try:
        answer = decode(_ANSWER, data)
    except ValueError:
        return None, None
    if isinstance(answer.status, int):
        return ("refused" if 400 <= answer.status < 500 else None), None
    following = None if answer.next is UNSET else bytes(answer.next)
    return answer.status, None if following == b"null" else following
