"""Claims: commands that workers ask for, decided here or by the owner of their execution (W7)."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from noetl_bus.broker import Bus
from noetl_bus.consumers.delivery import Delivery
from noetl_common.logging import get_logger
from noetl_contract.ingress import REPLY_HEADER, ClaimMessage, decode_claim, encode_message
from noetl_contract.subjects import family, write_subject
from noetl_engine.inputs import Claimed
from noetl_engine.outputs import Answer

from noetl_orchestrator import metrics
from noetl_orchestrator.fences import Fences
from noetl_orchestrator.ingress.callers import MessageCaller, UnderWay, encode_envelope
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.replicas.replicas import Replicas
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.traces import arrival_of
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.inputs import TurnInput
from noetl_orchestrator.turn.prepare import FINISHED

_log = get_logger()
BUSY = Answer(status=503, error="The claim could not be decided in time")
_TEXT = "The claim does not show the capability of its command"
# Not 403: a worker acknowledges what it can't have, and the sweep sends it again (O3).
_UNPROVEN = Answer(status=409, error=_TEXT, detail={"code": "unproven", "message": _TEXT})


class ClaimHandler:
    """Turn claims into inputs.

    Attributes:
        under_way: messages that wait for their answers, claims among them.
    """

    def __init__(
        self,
        bus: Bus,
        store: Store,
        dispatcher: Dispatcher,
        replicas: Replicas,
        settings: Settings,
        *,
        under_way: UnderWay,
    ) -> None:
        self._bus = bus
        self._store = store
        self._dispatcher = dispatcher
        self._replicas = replicas
        self._settings = settings
        self._fences = Fences(settings)
        self.under_way = under_way

    async def take(self, delivery: Delivery) -> None:
        """Submit a claim to turns without waiting for its answer."""
        patience = self._settings.claim_patience_seconds
        caller = ClaimCaller(self._bus, self.under_way, delivery, self._dispatcher, patience)
        caller.encode_reply = self._encode_granted
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
            self.under_way.spawn(self._find_owner(claim, caller))
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
        is_allowed = family(subject) not in self._bus.forbidden
        if not is_allowed or self._replicas.owner_of(execution_id) is None:
            caller.ask(claim, execution_id)
            return
        fence = self._fences.fence(execution_id, event_id, attempts=0)
        body = encode_message(claim.but(execution_id=execution_id, fence=fence))
        await caller.pass_on(subject, body)

    def _encode_granted(self, answer: Answer) -> bytes:
        """Encode the reply, with the fence of a granted run, which the worker shows from now on."""
        body = answer.body
        if isinstance(body, dict) and isinstance(fast := body.get("fast"), dict):
            part = {**fast, "shard": self._settings.shard_index}
            attempts, event_id = fast["attempts"], body["event_id"]
            fence = self._fences.fence(body["execution_id"], event_id, attempts=attempts)
            body = {**body, "fast": part if fence is None else {**part, "fence": fence}}
        return encode_envelope(replace(answer, body=body))


class ClaimCaller(MessageCaller):
    """A worker that asks for a command; it may stop waiting until the decision begins.

    Nobody wants a late answer, so it is answered 503 after a while, doubled while a decision is
    under way (W7). A claim leaves no dead letter.
    """

    def __init__(
        self,
        bus: Bus,
        under_way: UnderWay,
        delivery: Delivery,
        dispatcher: Dispatcher,
        patience_seconds: float,
    ) -> None:
        super().__init__(bus, under_way, delivery)
        self._dispatcher = dispatcher
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
        self._dispatcher.submit(TurnInput(execution_id, message, self, arrival=arrival))

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
                await self._bus.send(subject, body, headers, reply=reply)
            finally:
                self._delivery.ack_nowait()
                self._end_wait()

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
            self._under_way.spawn(super().answered(BUSY))
