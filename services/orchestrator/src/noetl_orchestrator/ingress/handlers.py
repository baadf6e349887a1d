"""Turn ingress messages into inputs of turns, and answer them."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial

import orjson
from msgspec import Raw
from noetl_common.bus.broker import Bus
from noetl_common.bus.delivery import Delivery
from noetl_common.errors import NoetlError, Permanent
from noetl_common.logging import get_logger
from noetl_contract.ingress import (
    REPLY_HEADER,
    STORED_HEADER,
    ClaimMessage,
    CommandOutcomeMessage,
    CommandStartMessage,
    IngressMessage,
    decode_claim,
    encode_message,
)
from noetl_contract.json import encode
from noetl_contract.rpc import RpcReply, encode_reply
from noetl_contract.subjects import family, write_subject
from noetl_engine.inputs import Claimed
from noetl_engine.outputs import Answer

from noetl_orchestrator import metrics
from noetl_orchestrator.fences import Fences
from noetl_orchestrator.ingress.decode import (
    Undecodable,
    WrongKind,
    WrongShard,
    decode,
    turn_input_of,
)
from noetl_orchestrator.ingress.stored_bodies import StoredBodies, StoredBodyGone
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.replicas.replicas import Replicas
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.traces import arrival_of, with_root
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.inputs import Caller, TurnInput
from noetl_orchestrator.turn.prepare import FINISHED

_log = get_logger()
_FETCHES_AT_ONCE = 4
_FETCH_AGAIN_SECONDS = 1.0
BUSY = Answer(status=503, error="The claim could not be decided in time")
_TEXT = "The claim does not show the capability of its command"
# Not 403: a worker acknowledges what it can't have, and the sweep sends it again (O3).
_UNPROVEN = Answer(status=409, error=_TEXT, detail={"code": "unproven", "message": _TEXT})


type EncodeReply = Callable[[Answer], bytes]


class IngressHandler:
    """Turn ingress messages into inputs; each is answered when its turn is over.

    Attributes:
        settled: each is called when a message was answered, to request more.
        claims: how many claims wait for their answers.
        idle: set while no message waits for its answer.
        replicas: say whether this process takes part.
        dispatcher: puts inputs into turns.
    """

    def __init__(
        self, bus: Bus, store: Store, dispatcher: Dispatcher, replicas: Replicas, settings: Settings
    ) -> None:
        self.bus = bus
        self.replicas = replicas
        self.settled: list[Callable[[], None]] = []
        self.idle = asyncio.Event()
        self.idle.set()
        self._working = self.claims = 0
        self.dispatcher = dispatcher
        self._store = store
        self._settings = settings
        self._fences = Fences(settings)
        self._stored = StoredBodies(bus, shard=settings.shard_index)
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)
        self._fetching: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """How many messages wait for their answers, claims apart."""
        return self._working - self.claims

    async def take_here(self, deliveries: Sequence[Delivery]) -> None:
        """Submit messages to turns without waiting for their answers."""
        for delivery in deliveries:
            is_claim = _is_claim(delivery)
            self.begun(is_claim=is_claim)
            if is_claim:
                await self._take_claim(delivery)
                continue
            if STORED_HEADER in delivery.headers:
                # Other messages don't wait for it; the window of the consumer limits the number.
                self.spawn(self._take_stored(delivery))
                continue
            await self._take(delivery, delivery.data)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Do something that nobody else waits for."""
        task = asyncio.create_task(work)
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def _take(self, delivery: Delivery, data: bytes) -> None:
        try:
            message = decode(delivery, data, self._settings)
        except (Undecodable, WrongShard, WrongKind) as error:
            await self._refuse(delivery, error)
            return
        message = with_root(message)
        caller = MessageCaller(self, delivery, _reply_encoder(message))
        if isinstance(message, CommandStartMessage | CommandOutcomeMessage) and not (
            self._fences.admits_run(message.execution_id, message.hold)
        ):
            await self._turn_away(message, caller)
            return
        seconds = self._settings.request_key_seconds
        turn_input = turn_input_of(message, delivery, caller, idempotency_seconds=seconds)
        turn_input.arrival = arrival_of(delivery)
        self.dispatcher.submit(turn_input)

    async def _turn_away(
        self, message: CommandStartMessage | CommandOutcomeMessage, caller: Caller
    ) -> None:
        """Answer a report whose sender doesn't show that it has the command; keep none of it."""
        hold = message.hold
        is_start = isinstance(message, CommandStartMessage)
        metrics.UNPROVEN.labels("start" if is_start else "outcome").inc()
        _log.warning(
            "report_unproven",
            execution_id=message.execution_id,
            step=hold.step,
            command_id=hold.command_id,
            event_id=hold.event_id,
            worker_id=hold.worker_id,
        )
        body = {"status": "lost" if is_start else "late", "reason": "fence"}
        await caller.answered(Answer(body=body))

    async def _take_claim(self, delivery: Delivery) -> None:
        patience = self._settings.claim_patience_seconds
        caller = ClaimCaller(self, delivery, self._encode_granted, patience_seconds=patience)
        try:
            claim = decode_claim(delivery.data)
        except ValueError as error:
            await caller.answered(Answer(status=422, error=f"the claim can't be read: {error}"))
            return
        if not self._fences.admits_claim(claim.execution_id or 0, claim.event_id, claim.fence):
            metrics.UNPROVEN.labels("claim").inc()
            _log.warning("claim_unproven", event_id=claim.event_id, worker_id=claim.worker_id)
            await caller.answered(_UNPROVEN)
        elif claim.execution_id is None:
            self.spawn(self._find_owner(claim, caller))
        elif (foreign := self._settings.refuse_foreign(claim.execution_id)) is not None:
            await caller.answered(Answer(foreign.status, error=foreign.error))
        else:
            caller.ask(claim, claim.execution_id)

    async def _find_owner(self, claim: ClaimMessage, caller: "ClaimCaller") -> None:
        """Decide a claim that doesn't name its execution, or send it to the owner, who answers."""
        event_id = claim.event_id
        try:
            await self._decide_or_pass_on(claim, caller)
        except Exception as error:  # noqa: BLE001 -- or its place would never be free again
            _log.warning("claim_not_decided", event_id=event_id, exc_info=error)
            await caller.answered(BUSY)

    async def _decide_or_pass_on(self, claim: ClaimMessage, caller: "ClaimCaller") -> None:
        event_id, shard = claim.event_id, self._settings.shard_index
        execution_id = await self._store.find_command_execution(event_id)
        if execution_id is None:
            # Not 404: a worker would get the command again forever (F15).
            await caller.answered(FINISHED)
            return
        subject = write_subject(shard, execution_id=execution_id, kind="claim")
        if not self.is_for_another(execution_id, subject):
            caller.ask(claim, execution_id)
            return
        fence = self._fences.fence(execution_id, event_id, attempts=0)
        body = encode_message(claim.but(execution_id=execution_id, fence=fence))
        await caller.pass_on(subject, body)

    def is_for_another(self, execution_id: int, subject: str) -> bool:
        """Return whether a sibling owns an execution, and may be asked on a subject."""
        is_allowed = family(subject) not in self.bus.forbidden
        return is_allowed and self.replicas.owner_of(execution_id) is not None

    def _encode_granted(self, answer: Answer) -> bytes:
        """Encode the reply, with the fence of a granted run, which the worker shows from now on."""
        body = answer.body
        if isinstance(body, dict) and isinstance(fast := body.get("fast"), dict):
            part = {**fast, "shard": self._settings.shard_index}
            attempts, event_id = fast["attempts"], body["event_id"]
            fence = self._fences.fence(body["execution_id"], event_id, attempts=attempts)
            body = {**body, "fast": part if fence is None else {**part, "fence": fence}}
        return encode_envelope(replace(answer, body=body))

    async def _take_stored(self, delivery: Delivery) -> None:
        """Take a message whose body was too large for the broker."""
        try:
            async with self._fetches:
                data = await self._stored.fetch(delivery.data)
        except StoredBodyGone as error:
            await self._refuse(delivery, error)
        except NoetlError as error:
            # An outage does not count as an attempt: the message comes again.
            _log.warning("stored_message_not_fetched", error=error.message)
            await MessageCaller(self, delivery).given_back(_FETCH_AGAIN_SECONDS)
        else:
            await self._take(delivery, data)

    async def _refuse(self, delivery: Delivery, error: Permanent) -> None:
        metrics.DEAD_LETTERS.labels(error.code).inc()
        answer = Answer(status=422, error=error.message)
        await MessageCaller(self, delivery).refused(error.message, answer)

    def begun(self, *, is_claim: bool = False) -> None:
        """Note that a message waits for its answer."""
        self._working += 1
        self.claims += is_claim
        self.idle.clear()

    def finished(self, *, is_claim: bool = False) -> None:
        """Note that a message was answered."""
        self._working -= 1
        self.claims -= is_claim
        if not self._working:
            self.idle.set()
        for request_more in self.settled:
            request_more()


def _is_claim(delivery: Delivery) -> bool:
    return delivery.subject.rpartition(".")[2] == "claim"


def encode_envelope(answer: Answer) -> bytes:
    """Encode a reply: status, body and error apart."""
    body = Raw(encode(answer.body))
    reply = RpcReply(status=answer.status, raw_body=body, error=answer.error, detail=answer.detail)
    return encode_reply(reply)


def _encode_bare(answer: Answer, *, without_body: str) -> bytes:
    """Encode the reply to a worker: the body alone, or a status word without one."""
    if answer.body is not None:
        return orjson.dumps(answer.body)
    # The execution is unknown, or the message was refused: nothing to hold or to keep.
    return orjson.dumps({"status": without_body, "reason": "finished", "error": answer.error})


def _reply_encoder(message: IngressMessage) -> EncodeReply:
    """Return the encoder of replies to a message; workers expect their own form."""
    match message:
        case CommandStartMessage():
            return partial(_encode_bare, without_body="lost")
        case CommandOutcomeMessage():
            return partial(_encode_bare, without_body="late")
        case _:
            return encode_envelope


class MessageCaller(Caller):
    """The sender of an ingress message; answers it and acknowledges its delivery.

    It always waits: the message stays in the stream until it is handled.
    """

    def __init__(
        self,
        handler: IngressHandler,
        delivery: Delivery,
        encode_reply: EncodeReply = encode_envelope,
    ) -> None:
        self._handler = handler
        self._delivery = delivery
        self._encode_reply = encode_reply

    async def answered(self, answer: Answer) -> None:
        """Reply and acknowledge; if either is lost, the message comes again."""
        await self._reply(answer)
        self._delivery.ack_nowait()
        self._finish()

    async def refused(self, reason: str, answer: Answer) -> None:
        """Keep the message as a dead letter, and reply; one that can't be kept comes again."""
        if await self._delivery.dead_letter(reason):
            await self._reply(answer)
        self._finish()

    async def given_back(self, delay_seconds: float) -> None:
        """Return the message to the broker, for another delivery to any replica."""
        await self._delivery.nak(delay_seconds)
        self._finish()

    def _finish(self) -> None:
        self._handler.finished()

    async def _reply(self, answer: Answer) -> None:
        subject = self._delivery.headers.get(REPLY_HEADER)
        if not subject:
            return
        try:
            await self._handler.bus.reply(subject, self._encode_reply(answer))
        except NoetlError as error:
            _log.warning("reply_not_sent", error=error.message)


class ClaimCaller(MessageCaller):
    """A worker that asks for a command; it may stop waiting until the decision begins.

    Nobody wants a late answer, so it is answered 503 after a while, doubled while a decision is
    under way (W7). A claim leaves no dead letter.
    """

    def __init__(
        self,
        handler: IngressHandler,
        delivery: Delivery,
        encode_reply: EncodeReply,
        *,
        patience_seconds: float,
    ) -> None:
        super().__init__(handler, delivery, encode_reply)
        self._patience = patience_seconds
        self._is_taken = self._is_over = self._was_extended = False
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, claim: ClaimMessage, execution_id: int, *, final: bool = False) -> None:
        """Have the claim decided; one that is held back is asked once more."""
        self._claim, self._execution_id = claim, execution_id
        self._is_taken = self._was_extended = False
        message = Claimed(
            event_id=claim.event_id,
            worker_id=claim.worker_id,
            instance=claim.instance,
            after_start=claim.after_start,
            final=final,
            known_workload=claim.known_workload,
        )
        self._after(self._patience, self._give_up)
        arrival = arrival_of(self._delivery)
        self._handler.dispatcher.submit(TurnInput(execution_id, message, self, arrival=arrival))

    @property
    def is_waiting(self) -> bool:
        """Return whether the claim still waits."""
        return not self._is_over

    def taken(self) -> None:
        """Note that the claim may be granted from now on, so the answer is needed."""
        self._is_taken = True

    async def answered(self, answer: Answer) -> None:
        """Reply; a repeated claim is held back for the time that the engine gives."""
        if answer.hold_back_seconds is not None and not self._is_over:
            self._after(
                answer.hold_back_seconds,
                lambda: self.ask(self._claim, self._execution_id, final=True),
            )
        elif self._end():
            await super().answered(answer)

    async def refused(self, reason: str, answer: Answer) -> None:
        """Reply that it is refused."""
        del reason
        await self.answered(answer)

    async def given_back(self, delay_seconds: float) -> None:
        """Reply that the worker should try again."""
        del delay_seconds
        await self.answered(BUSY)

    async def pass_on(self, subject: str, body: bytes) -> None:
        """Send the claim to another owner, who answers; its sender hears if that one is gone."""
        if self._end():
            headers = self._delivery.headers
            reply = headers.get(REPLY_HEADER, "")
            try:
                await self._handler.bus.send(subject, body, headers, reply=reply)
            finally:
                self._delivery.ack_nowait()
                self._finish()

    def _finish(self) -> None:
        self._handler.finished(is_claim=True)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, act)

    def _end(self) -> bool:
        """Note that it waits no more; return whether it did."""
        did_wait, self._is_over = not self._is_over, True
        if self._timer is not None:
            self._timer.cancel()
        return did_wait

    def _give_up(self) -> None:
        if self._is_taken and not self._was_extended:
            self._was_extended = True
            self._after(self._patience, self._give_up)
        elif self._end():
            self._handler.spawn(super().answered(BUSY))
