"""Starts and outcomes of commands, repeated until they are answered."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Literal

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.inbox import Incoming
from noetl_common.bus.publish import Outgoing, PubAck
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.ingress import REPLY_HEADER, CommandMessageFields, EventFields, HoldFields
from noetl_contract.subjects import ingress_subject

from noetl_worker import jsonb
from noetl_worker.commands import Command
from noetl_worker.control_plane.registration import Identity
from noetl_worker.transports.pending_outcomes import PendingOutcomes
from noetl_worker.transports.timing import Timing

_log = get_logger()

type Kind = Literal["start", "outcome"]
type OnAnswer = Callable[["Message", str | None], None]


@dataclass(frozen=True, slots=True)
class Place:
    """The run of a command that a message reports on, and the shard of its execution."""

    shard: int
    event_id: int
    attempts: int


class Message:
    """A start or an outcome; ``due`` is when it is sent again, 0 while it is not stored yet."""

    __slots__ = ("body", "due", "kind", "pause", "place", "reply", "subject", "tries")

    def __init__(self, kind: Kind, subject: str, body: bytes, place: Place, *, reply: str) -> None:
        self.kind = kind
        self.subject = subject
        self.body = body
        self.place = place
        self.reply = reply
        self.tries = 0
        self.pause = 0.0
        self.due = 0.0


class Messages:
    """Messages that wait for their answer, by reply subject."""

    def __init__(
        self, bus: Bus, *, identity: Identity, pending_outcomes: PendingOutcomes, timing: Timing
    ) -> None:
        self._bus = bus
        self._identity = identity
        self._pending_outcomes = pending_outcomes
        self._timing = timing
        self._waiting: dict[str, Message] = {}

    def __contains__(self, message: Message) -> bool:
        return message.reply in self._waiting

    def make(
        self,
        kind: Kind,
        command: Command,
        place: Place,
        *,
        events: list[EventFields],
        on_answer: OnAnswer,
    ) -> Message:
        """Write a message and listen for its answers, of which ``on_answer`` gets the status."""
        hold = HoldFields(
            event_id=place.event_id,
            command_id=command.command_id,
            step=command.step,
            attempts=place.attempts,
            worker_id=self._identity.worker_id,
            instance=self._identity.instance,
        )
        if command.fence:
            hold["fence"] = command.fence
        body = jsonb.encode(
            CommandMessageFields(
                type="command.start" if kind == "start" else "command.outcome",
                v=1,
                execution_id=command.execution_id,
                hold=hold,
                events=events,
            )
        )
        subject = ingress_subject(place.shard, execution_id=command.execution_id, kind=kind)
        reply = self._bus.inbox().fresh_subject()
        message = Message(kind, subject, body, place, reply=reply)
        if kind == "outcome":
            self._pending_outcomes.add(len(body))
        self._waiting[message.reply] = message
        self._bus.inbox().register(
            message.reply, lambda incoming: on_answer(message, _status_of(incoming))
        )
        return message

    def forget(self, message: Message) -> None:
        """Send it no more; a second time changes nothing."""
        if self._waiting.pop(message.reply, None) is None:
            return
        self._bus.inbox().forget(message.reply)
        if message.kind == "outcome":
            self._pending_outcomes.remove(len(message.body))

    async def publish(self, message: Message, *, seconds: float) -> PubAck:
        """Publish once and wait until it is stored."""
        return await self._bus.publish(
            message.subject,
            message.body,
            message_id=self._id_of(message),
            headers={REPLY_HEADER: message.reply},
            seconds=seconds,
        )

    async def publish_quietly(self, messages: list[Message]) -> None:
        """Publish without raising: a failed message is due again anyway."""
        outgoing = [
            Outgoing(
                message.subject,
                message.body,
                self._id_of(message),
                {REPLY_HEADER: message.reply},
            )
            for message in messages
        ]
        for result in await self._bus.publish_many(outgoing, seconds=2.0):
            if isinstance(result, NoetlError):
                _log.info("repetition_not_stored", error=result.message)

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
        place = message.place
        base = f"{message.kind[0]}:{place.event_id}:{place.attempts}"
        if message.kind == "outcome" or message.tries:
            base = f"{base}:{self._identity.instance}"
        return f"{base}:{message.tries}" if message.tries else base


def _status_of(incoming: Incoming) -> str | None:
    try:
        body = orjson.loads(incoming.data)
    except orjson.JSONDecodeError:
        return None
    status = body.get("status") if isinstance(body, dict) else None
    if isinstance(status, int) and 400 <= status < 500:
        return "refused"
    return status if isinstance(status, str) else None
