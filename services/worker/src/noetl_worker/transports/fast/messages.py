"""Starts and outcomes of commands, repeated until they are answered."""

import asyncio
from collections.abc import Callable
from time import monotonic

from msgspec import UNSET, Raw, UnsetType
from msgspec.json import Decoder
from noetl_common.errors import NoetlError, Permanent
from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.ingress import CommandOutcomeMessage, CommandStartMessage, Hold, WireEvent
from noetl_contract.message_ids import report_id
from noetl_contract.model import Struct, decode

from noetl_worker import jsonb, metrics
from noetl_worker.commands import Command
from noetl_worker.control_plane.registration import Identity
from noetl_worker.transports.fast.channel import Channel
from noetl_worker.transports.fast.message import Kind, Message, Place
from noetl_worker.transports.fast.pending_outcomes import PendingOutcomes
from noetl_worker.transports.fast.timing import Timing

_log = get_logger()

type OnAnswer = Callable[[Message, str | None], None]


class Messages:
    """Messages that wait for their answer, by reply subject."""

    def __init__(
        self,
        channel: Channel,
        *,
        identity: Identity,
        pending_outcomes: PendingOutcomes,
        timing: Timing,
    ) -> None:
        self._channel = channel
        self._identity = identity
        self._pending_outcomes = pending_outcomes
        self._timing = timing
        self._waiting: dict[str, Message] = {}

    def make(
        self,
        kind: Kind,
        command: Command,
        place: Place,
        *,
        events: list[WireEvent],
        on_answer: OnAnswer,
    ) -> Message:
        """Write a message and listen for its answers, of which ``on_answer`` gets the status."""
        hold = Hold(
            event_id=place.event_id,
            command_id=command.command_id,
            step=command.step,
            attempts=place.attempts,
            worker_id=self._identity.worker_id,
            instance=self._identity.instance,
            fence=command.fence or None,
        )
        form = CommandStartMessage if kind == "start" else CommandOutcomeMessage
        body = jsonb.encode_message(
            form(execution_id=command.execution_id, hold=hold, events=events)
        )
        message = Message(kind, command, body, place)
        message.reply = self._channel.open(
            message, lambda body: self._hear(message, body, on_answer)
        )
        if kind == "outcome":
            self._pending_outcomes.add(len(body))
        self._waiting[message.reply] = message
        return message

    def _hear(self, message: Message, body: bytes, on_answer: OnAnswer) -> None:
        status, message.next = _read(body)
        on_answer(message, status)

    def forget(self, message: Message) -> None:
        """Send it no more; a second time changes nothing."""
        message.is_done = True
        message.settle()
        if self._waiting.pop(message.reply, None) is None:
            return
        self._channel.forget(message.reply)
        message.write = None  # it knows the message
        if message.kind == "outcome":
            self._pending_outcomes.remove(len(message.body))

    async def publish(self, message: Message, *, seconds: float) -> bool:
        """Send once and wait until it is stored; tell whether it is the first with its id.

        Raises:
            Permanent: it will never be taken.
            NoetlError: it may not be stored.
        """
        return await self._channel.send(message, self._id_of(message), seconds=seconds)

    async def publish_start(self, message: Message) -> bool | None:
        """Publish a start until it is stored; tell if it is the first, None if it never was.

        Raises:
            Permanent: it will never be taken; it is forgotten.
        """
        metrics.FAST_PATH.labels("started").inc()
        for number in range(self._timing.start_tries):
            if number:
                # A refusal comes at once: the next try must not.
                await asyncio.sleep(self._timing.start_try_seconds * number / 4)
            try:
                return await self.publish(message, seconds=self._timing.start_try_seconds)
            except Permanent:
                self.forget(message)
                raise
            except NoetlError as error:
                event_id = message.place.event_id
                _log.warning("start_not_stored", event_id=event_id, error=error.message)
        return None

    async def publish_until_stored(self, message: Message) -> None:
        """Publish until it is stored or answered; from then on it is repeated until answered.

        Cut off at the end of the drain, it goes on being repeated while the answers are waited for.

        Raises:
            Permanent: it will never be taken.
        """
        timing = self._timing
        try:
            async for _ in backoff(
                first_seconds=timing.outcome_pause_seconds,
                longest_seconds=timing.outcome_longest_pause_seconds,
            ):
                if message.is_done:
                    return
                try:
                    await self.publish(message, seconds=timing.outcome_try_seconds)
                except Permanent:
                    raise
                except NoetlError as error:
                    event_id = message.place.event_id
                    _log.warning("outcome_not_stored", event_id=event_id, error=error.message)
                    continue
                message.pause = timing.answer_seconds
                message.due = monotonic() + message.pause
                return
        except asyncio.CancelledError:
            message.pause = timing.answer_seconds
            message.due = monotonic()
            raise

    async def publish_quietly(self, messages: list[Message]) -> None:
        """Send without raising: a failed message is due again anyway."""
        await self._channel.send_again([(one, self._id_of(one)) for one in messages])

    async def run_confirmations(self) -> None:
        """Publish unanswered messages again, under the next message id."""
        while True:
            await asyncio.sleep(self._timing.look_seconds)
            now = monotonic()
            due = [one for one in self._waiting.values() if one.due and one.due <= now]
            if due:
                for message in due:
                    message.tries += 1
                    self._set_next_due(message, now)
                await self.publish_quietly(due)

    def _set_next_due(self, message: Message, now: float) -> None:
        if message.kind == "start":
            message.due = now + self._timing.answer_seconds
            return
        message.pause = min(message.pause * 2, self._timing.longest_repeat_seconds)
        message.due = now + message.pause

    def _id_of(self, message: Message) -> str:
        return report_id(
            message.kind,
            message.place.event_id,
            attempts=message.place.attempts,
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
