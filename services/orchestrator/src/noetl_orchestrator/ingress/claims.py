"""Claims of commands: each waits for the turn that grants or refuses it.

That is a turn of the replica that owns the execution, of which others request it.
"""

import asyncio

from noetl_common.bus.broker import Bus
from noetl_common.bus.errors import BusForbidden, BusUnavailable, NobodyListens
from noetl_common.bus.inbox import Incoming
from noetl_common.bus.rpc import Encoded, handle
from noetl_common.bus.rpc.replies import reply_to_error
from noetl_common.logging import get_logger
from noetl_contract.json import JsonObject, encode
from noetl_contract.rpc import Refusal, RpcReply, decode_reply, encode_reply
from noetl_contract.rpc.operation import encode_value
from noetl_contract.rpc.orchestrator import CLAIM, ClaimGranted, ClaimRequest, ClaimRetry
from noetl_contract.subjects import write_subject
from noetl_engine.inputs import Claimed
from noetl_engine.outputs import Answer

from noetl_orchestrator import metrics
from noetl_orchestrator.fences import Fences
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.memory.replicas import Replicas
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.traces import arrival_here
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.inputs import Caller, TurnInput
from noetl_orchestrator.turn.prepare import FINISHED

_log = get_logger()

_PASSED_SECONDS = 10.0
_UNPROVEN = "The claim does not show the capability of its command"


type _Answer = Encoded[ClaimGranted | ClaimRetry] | Refusal


class ClaimHandler:
    """Answer ``noetl_rpc.orchestrator.<shard>.claim``."""

    def __init__(
        self, bus: Bus, store: Store, dispatcher: Dispatcher, replicas: Replicas, settings: Settings
    ) -> None:
        self._bus = bus
        self._store = store
        self._dispatcher = dispatcher
        self._replicas = replicas
        self._settings = settings
        self._fences = Fences(settings)
        self._owned = handle(CLAIM, self._on_owned)
        self._taken: set[asyncio.Task[None]] = set()

    async def on_claim(self, claim: ClaimRequest) -> _Answer | RpcReply:
        """Have one claim decided by the replica that owns its execution."""
        execution_id = claim.execution_id
        if not self._fences.admits_claim(execution_id or 0, claim.event_id, claim.fence):
            metrics.UNPROVEN.labels("claim").inc()
            _log.warning("claim_unproven", event_id=claim.event_id, worker_id=claim.worker_id)
            # Not 403: a worker acknowledges what it can't have, and the sweep sends it again (O3).
            return Refusal(409, _UNPROVEN, {"code": "unproven", "message": _UNPROVEN})
        if execution_id is None:
            execution_id = await self._store.find_command_execution(claim.event_id)
        if execution_id is None:
            # Not 404: a worker would get the command again forever (F15).
            return _refusal(FINISHED)
        if (foreign := self._settings.refuse_foreign(execution_id)) is not None:
            return foreign
        known = claim
        if claim.execution_id is None:
            known = claim.but(execution_id=execution_id)
        if self._replicas.owner_of(execution_id) is not None:
            subject = write_subject(
                self._settings.shard_index, execution_id=execution_id, kind="claim"
            )
            try:
                answer = await self._bus.request(
                    subject, encode_value(known), seconds=_PASSED_SECONDS
                )
                return decode_reply(answer.data)
            except (NobodyListens, BusForbidden):
                pass  # its owner is gone, or our login is of the release before
            except BusUnavailable:
                return _refusal(_BUSY)
        return await self._decide(execution_id, known)

    def take(self, incoming: Incoming) -> None:
        """Decide a claim that came to another replica, and answer it."""
        if len(self._taken) >= self._settings.claims_at_once:
            self._bus.send_nowait(
                incoming.reply, encode_reply(RpcReply(status=503, error=_BUSY.error))
            )
            return
        task = asyncio.create_task(self._answer(incoming))
        self._taken.add(task)
        task.add_done_callback(self._taken.discard)

    async def drain(self) -> None:
        """Wait for the answers to what was taken."""
        while self._taken:
            await asyncio.wait(self._taken)

    async def _answer(self, incoming: Incoming) -> None:
        try:
            body = encode_reply(await self._owned.answer(incoming.data))
        except Exception as error:  # noqa: BLE001 -- the worker must get an answer
            body = encode_reply(reply_to_error(error, name=self._owned.name, has_details=True))
        await self._bus.reply(incoming.reply, body)

    async def _on_owned(self, claim: ClaimRequest) -> _Answer:
        return await self._decide(claim.execution_id or 0, claim)

    async def _decide(self, execution_id: int, claim: ClaimRequest) -> _Answer:
        """Decide one claim; hold back a repeated claim for the time that the engine gives."""
        answer = await self._ask(execution_id, claim, final=False)
        if answer.hold_back_seconds is not None:
            await asyncio.sleep(answer.hold_back_seconds)
            answer = await self._ask(execution_id, claim, final=True)
        if answer.error is not None:
            return _refusal(answer)
        body = answer.body
        if isinstance(body, dict) and isinstance(body.get("fast"), dict):
            body = {**body, "fast": self._fast_part(execution_id, claim.event_id, body["fast"])}
        return Encoded(encode(body))

    def _fast_part(self, execution_id: int, event_id: int, fast: JsonObject) -> JsonObject:
        """Return the fence of a granted run, which the worker shows from now on."""
        part = {**fast, "shard": self._settings.shard_index}
        fence = self._fences.fence(execution_id, event_id, attempts=fast["attempts"])
        return part if fence is None else {**part, "fence": fence}

    async def _ask(self, execution_id: int, claim: ClaimRequest, *, final: bool) -> Answer:
        caller = ClaimCaller()
        message = Claimed(
            event_id=claim.event_id,
            worker_id=claim.worker_id,
            instance=claim.instance,
            after_start=claim.after_start,
            final=final,
            known_workload=claim.known_workload,
        )
        arrival = arrival_here()
        self._dispatcher.submit(TurnInput(execution_id, message, caller, arrival=arrival))
        return await caller.wait(self._settings.claim_patience_seconds)


def _refusal(answer: Answer) -> Refusal:
    return Refusal(answer.status, answer.error or "", answer.detail)


class ClaimCaller(Caller):
    """A claim that waits for its answer; it may stop waiting until its decision begins."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._is_taken = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Return whether the claim still waits."""
        return not self._answer.done()

    def taken(self) -> None:
        """Note that the claim may be granted from now on, so the answer is needed."""
        self._is_taken = True

    async def answered(self, answer: Answer) -> None:
        """Take the answer."""
        if not self._answer.done():
            self._answer.set_result(answer)

    async def refused(self, reason: str, answer: Answer) -> None:
        """Take the refusal; a claim leaves no dead letter."""
        del reason
        await self.answered(answer)

    async def given_back(self, delay_seconds: float) -> None:
        """Answer that the worker should try again."""
        del delay_seconds
        await self.answered(_BUSY)

    async def wait(self, timeout_seconds: float) -> Answer:
        """Return the answer; 503 after the timeout, doubled while a decision is under way (W7)."""
        self._give_up_after(timeout_seconds, more_seconds=timeout_seconds)
        try:
            return await self._answer
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _give_up_after(self, seconds: float, *, more_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._give_up, more_seconds)

    def _give_up(self, more_seconds: float) -> None:
        if self._is_taken and more_seconds:
            self._give_up_after(more_seconds, more_seconds=0.0)
        elif not self._answer.done():
            self._answer.set_result(_BUSY)


_BUSY = Answer(status=503, error="The claim could not be decided in time")
