"""Hand ingress messages over to the replica that owns their execution, and take those of others.

Who got a message from the broker keeps its delivery and answers it by what the owner tells. The
owner answers the sender. A message without an answer is handed over again, and decided here once
its owner is gone; either way as a repetition, because it may be committed already (W4).
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic, time_ns
from typing import Literal, Protocol

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.delivery import Delivery
from noetl_common.bus.inbox import Incoming
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.hints import HandedAnswers, HandedMessage, HandedOver
from noetl_contract.subjects import replica_subject

from noetl_orchestrator import metrics
from noetl_orchestrator.memory.replicas import Replicas

_log = get_logger()
_AGAIN_SECONDS = 2.0
_LOOK_SECONDS = 0.5
_LAST_LOOK_SECONDS = 0.05
_MOST_IN_FRAME = 128
_MOST_IN_ANSWER = 1000
_LONGEST_REASON = 500

type Verb = Literal["ack", "nak", "dead"]
type Answer = tuple[int, Verb, float | str | None]
type Tell = Callable[[Verb, float | str | None], None]


class Intake(Protocol):
    """What takes messages that are decided here, and counts those under way."""

    def begun(self) -> None:
        """Note that a message has come whose answer is owed."""

    def finished(self) -> None:
        """Note that a message was answered."""

    async def take_here(self, deliveries: Sequence[Delivery]) -> None:
        """Submit messages to turns; each is noted as begun."""


class HandedDelivery(Delivery):
    """A message that another replica got from the broker, which answers it for us."""

    __slots__ = ("_tell",)

    def __init__(self, incoming: Incoming, tell: Tell, *, again: bool) -> None:
        super().__init__(_NOBODY, incoming, store="")
        self._tell = tell
        if not incoming.reply:
            self._fields = (1, 0, str(time_ns()), 0)  # it came past its stream
        if again:
            self.count_another()
        self._metadata()  # so that one without it is refused where it comes

    def ack_nowait(self) -> None:
        """Have it acknowledged."""
        self._answer("ack", None)

    async def nak(self, delay: float | None = None) -> None:
        """Have it delivered again."""
        self._answer("nak", delay)

    async def term(self) -> None:
        """Have it delivered no more."""
        self._answer("ack", None)

    async def dead_letter(self, reason: str) -> None:
        """Have it kept as a dead letter."""
        self._answer("dead", reason[:_LONGEST_REASON])

    def _answer(self, verb: Verb, detail: float | str | None) -> None:
        if not self._answered:
            self._answered = True
            self._tell(verb, detail)


class _Nobody:
    """Stands for the pull that other deliveries belong to."""

    def answer(self, delivery: Delivery, word: bytes, *, final: bool) -> None:
        """Do nothing: a handed delivery tells its replica."""

    async def bury(self, delivery: Delivery, reason: str) -> bool:  # noqa: ARG002 -- as others have it
        """Keep nothing: its replica does."""
        return True


_NOBODY = _Nobody()


@dataclass(slots=True)
class _Given:
    """A message on its way to its owner."""

    number: int
    delivery: Delivery
    execution_id: int
    owner: str
    since: float


class HandOver:
    """Messages given to other replicas and taken from them.

    Args:
        bus: the connection.
        replicas: say who owns an execution.
        intake: takes what is decided here.
        most_waiting: messages of others that wait here; more are dropped, and given again.
    """

    def __init__(self, bus: Bus, replicas: Replicas, intake: Intake, *, most_waiting: int) -> None:
        self._bus = bus
        self._replicas = replicas
        self._intake = intake
        self._most_waiting = most_waiting
        self._given: dict[int, _Given] = {}
        self._count = 0
        self._unheard: dict[str, str] = {}
        self._waiting: deque[HandedDelivery] = deque()
        self._here: set[tuple[str, int]] = set()
        self._answers: dict[str, list[Answer]] = {}
        self._refused: list[tuple[Delivery, Verb, float | str | None]] = []
        self._wake = asyncio.Event()
        self._look_at = 0.0

    async def give(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Hand messages over to the owners of their executions; return those to decide here."""
        if not self._replicas.are_there:
            return deliveries
        here: list[Delivery] = []
        given: list[_Given] = []
        now = monotonic()
        for delivery in deliveries:
            execution_id = _execution_of(delivery.subject)
            owner = None if execution_id is None else self._replicas.owner_of(execution_id)
            if execution_id is None or owner is None or len(delivery.data) > self._largest:
                here.append(delivery)
                continue
            self._count += 1
            one = _Given(self._count, delivery, execution_id, owner, now)
            self._given[one.number] = one
            self._intake.begun()
            given.append(one)
        metrics.HANDED_OVER.inc(len(given))
        here += await self._send(given, again=False)
        return here

    async def run(self, *, beat: Callable[[], None] = lambda: None) -> None:
        """Take messages of others, and look after those given, until cancelled."""
        subscription = await self._bus.subscribe(replica_subject(self._replicas.name), self._hear)
        self._replicas.gone.append(self._lost)
        try:
            while True:
                beat()
                if monotonic() >= self._look_at:
                    self._look_at = monotonic() + _LOOK_SECONDS
                    await self._look()
                    await self._knock()
                try:
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
                if self._waiting:
                    taken = list(self._waiting)
                    self._waiting.clear()
                    await self._intake.take_here(taken)
                await self._settle_refused()
        finally:
            await asyncio.shield(self._hear_the_rest())
            self._replicas.gone.remove(self._lost)
            await subscription.unsubscribe()

    async def _hear_the_rest(self) -> None:
        """Wait for answers of owners at the end; what has none goes back to the broker.

        What others gave to this replica they decide themselves: they hear that it leaves.
        """
        while self._given or self._refused:
            self._wake.clear()
            await self._settle_refused()
            late = monotonic() - _AGAIN_SECONDS
            for one in [one for one in self._given.values() if one.since < late]:
                await self._given.pop(one.number).delivery.nak()
                self._intake.finished()
            try:
                async with asyncio.timeout(_LAST_LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    # -- given to others -------------------------------------------------------------------

    @property
    def _largest(self) -> int:
        """Most bytes of bodies in one frame, which leaves room for their headers."""
        return self._bus.largest_message // 4

    async def _send(self, given: Iterable[_Given], *, again: bool) -> list[Delivery]:
        """Send messages to their owners; return those that can't be sent, to decide here."""
        here: list[Delivery] = []
        frames: dict[str, list[_Given]] = {}
        for one in given:
            frames.setdefault(one.owner, []).append(one)
        for owner, found in frames.items():
            for portion in self._portions(found):
                frame = self._frame(portion, again=again)
                try:
                    await self._bus.send(
                        replica_subject(owner), frame, reply=self._unheard_at(owner)
                    )
                except NoetlError as error:
                    _log.warning("not_handed_over", error=error.message, messages=len(portion))
                    here += [self._taken_back(one) for one in portion]
        return here

    def _taken_back(self, one: _Given) -> Delivery:
        if self._given.pop(one.number, None) is not None:
            self._intake.finished()
        return one.delivery

    def _portions(self, found: Sequence[_Given]) -> Iterable[Sequence[_Given]]:
        """Cut messages into frames that the broker takes."""
        begin = size = 0
        for end, one in enumerate(found):
            size += len(one.delivery.data)
            if end > begin and (size > self._largest or end - begin == _MOST_IN_FRAME):
                yield found[begin:end]
                begin, size = end, len(one.delivery.data)
        yield found[begin:]

    def _frame(self, found: Sequence[_Given], *, again: bool) -> bytes:
        messages = [
            HandedMessage(
                number=one.number,
                subject=one.delivery.subject,
                reply=one.delivery.reply,
                headers=one.delivery.headers,
                size=len(one.delivery.data),
                again=again,
            )
            for one in found
        ]
        head = orjson.dumps(HandedOver({"from": self._replicas.name, "messages": messages}))
        return b"".join((head, b"\n", *(one.delivery.data for one in found)))

    async def _knock(self) -> None:
        """Send owners an empty frame: the broker tells of those that have died."""
        for owner in self._replicas.owners:
            try:
                await self._bus.send(
                    replica_subject(owner),
                    self._frame((), again=False),
                    reply=self._unheard_at(owner),
                )
            except NoetlError:
                return

    def _unheard_at(self, owner: str) -> str:
        """Return the subject on which the broker tells that nobody hears an owner."""
        subject = self._unheard.get(owner)
        if subject is None:
            subject = self._unheard[owner] = self._bus.inbox().fresh_subject()

            def told(incoming: Incoming) -> None:
                if incoming.is_no_responders:
                    self._replicas.lose(owner)

            self._bus.inbox().register(subject, told)
        return subject

    def _lost(self, owner: str) -> None:
        """Look at once after what a replica had that is gone."""
        subject = self._unheard.pop(owner, None)
        if subject is not None:
            self._bus.inbox().forget(subject)
        for one in self._given.values():
            if one.owner == owner:
                one.since = float("-inf")
        self._look_at = 0.0
        self._wake.set()

    async def _look(self) -> None:
        """Give what is unanswered for long once more, or decide it here."""
        now = monotonic()
        overdue = [one for one in self._given.values() if one.since < now - _AGAIN_SECONDS]
        if not overdue:
            return
        again: list[_Given] = []
        here: list[Delivery] = []
        for one in overdue:
            if self._replicas.owner_of(one.execution_id) == one.owner:
                one.since = now
                again.append(one)
                continue
            here.append(self._taken_back(one))
        here += await self._send(again, again=True)
        if here:
            _log.info("handed_over_taken_back", messages=len(here))
            for delivery in here:
                delivery.count_another()
            await self._intake.take_here(here)

    def _settled(self, answers: HandedAnswers) -> None:
        for number, verb, detail in answers["answers"]:
            one = self._given.pop(number, None)
            if one is None:
                continue  # told twice, or decided here since
            if verb == "ack":
                one.delivery.ack_nowait()
                self._intake.finished()
            else:
                self._refused.append((one.delivery, verb, detail))
                self._wake.set()

    async def _settle_refused(self) -> None:
        found, self._refused = self._refused, []
        for delivery, verb, detail in found:
            if verb == "nak":
                await delivery.nak(float(detail) if detail else None)
            else:
                await delivery.dead_letter(str(detail))
            self._intake.finished()

    # -- taken from others -----------------------------------------------------------------

    def _hear(self, incoming: Incoming) -> None:
        """Take a frame or answers; called from the read loop."""
        head, _, bodies = incoming.data.partition(b"\n")
        told = orjson.loads(head)
        if "answers" in told:
            self._settled(told)
            return
        message: HandedOver = told
        origin, at = message["from"], 0
        for entry in message["messages"]:
            data = bodies[at : at + entry["size"]]
            at += entry["size"]
            if len(self._waiting) >= self._most_waiting:
                metrics.HANDED_DROPPED.inc()
                continue
            key = (origin, entry["number"])
            if key in self._here:
                continue
            came = Incoming(entry["subject"], data, entry["headers"], entry["reply"])
            self._waiting.append(HandedDelivery(came, self._teller(*key), again=entry["again"]))
            self._here.add(key)
        self._wake.set()

    def _teller(self, origin: str, number: int) -> Tell:
        def tell(verb: Verb, detail: float | str | None) -> None:
            self._here.discard((origin, number))
            if not self._answers:
                # What the rest of the turn answers goes with it.
                asyncio.get_running_loop().call_soon(self._tell_all)
            self._answers.setdefault(origin, []).append((number, verb, detail))

        return tell

    def _tell_all(self) -> None:
        found, self._answers = self._answers, {}
        for origin, answers in found.items():
            for portion in itertools.batched(answers, _MOST_IN_ANSWER, strict=False):
                body = orjson.dumps(HandedAnswers(answers=list(portion)))
                self._bus.send_nowait(replica_subject(origin), body)


def _execution_of(subject: str) -> int | None:
    """Return the execution that an ingress subject names."""
    tokens = subject.split(".", 3)
    return int(tokens[2]) if len(tokens) > 2 and tokens[2].isdecimal() else None
