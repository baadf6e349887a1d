"""The fast path over the broker: ingress messages, claims and registration as requests."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.inbox import Incoming
from noetl_common.bus.publish import Outgoing
from noetl_common.bus.rpc import RpcClient, RpcUnavailable
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.retry import SHORT_WAY_SECONDS, ShortWay
from noetl_common.telemetry.carrier import carried_headers
from noetl_common.telemetry.tracing import inside, tracing
from noetl_contract.commands import CommandNotification
from noetl_contract.ingress import AGAIN_HEADER, NEXT_HEADER, NEXT_NAMED, REPLY_HEADER
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.rpc.orchestrator import RUNS_OVER, RunsQuery
from noetl_contract.subjects import direct_subject, family, ingress_subject, rpc_subject

from noetl_worker.commands import Command, secret_in
from noetl_worker.control_plane.registration import Identity
from noetl_worker.transports.fast.channel import Hear, Verdict
from noetl_worker.transports.fast.claims import ClaimAnswer, ClaimRounds
from noetl_worker.transports.fast.message import Message
from noetl_worker.transports.fast.timing import Timing
from noetl_worker.transports.runs import Runs
from noetl_worker.workloads import Workloads

_log = get_logger()
_AGAIN_SECONDS = 2.0


class BusChannel:
    """Sends outcomes past the ingress stream first, the rest into it; answers come to an inbox.

    An outcome is kept until its answer has come, so what is lost on the short way is only late.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._inbox = bus.inbox()
        self._short_ways: defaultdict[int, ShortWay] = defaultdict(ShortWay)
        self._short: dict[str, Message] = {}

    @property
    def is_open(self) -> bool:
        """The stream takes messages whenever it is there."""
        return True

    def listen(self, hear: Hear) -> str:
        """Return the reply subject of a message."""
        reply = self._inbox.fresh_subject()

        def take(incoming: Incoming) -> None:
            if not incoming.is_no_responders:
                hear(incoming.data)
            elif (message := self._short.pop(reply, None)) is not None:
                message.settle()  # nobody takes what comes past the stream

        self._inbox.register(reply, take)
        return reply

    def forget(self, reply: str) -> None:
        """Hear no more under a reply subject."""
        self._inbox.forget(reply)

    async def send(self, message: Message, message_id: str, *, seconds: float) -> bool:
        """Publish once and wait until it is stored."""
        if tracing() is None:
            return await self._send(message, message_id, seconds=seconds)
        with inside(f"report {message.kind}", kind="producer"):
            return await self._send(message, message_id, seconds=seconds)

    async def _send(self, message: Message, message_id: str, *, seconds: float) -> bool:
        headers = {REPLY_HEADER: message.reply, **carried_headers()}
        # Only the first: what is repeated may wait in the stream already.
        if message.kind == "outcome" and not message.tries and self._may_go_short(message):
            way = self._short_ways[message.place.shard]
            if way.take() and await self._send_short(message, way, headers):
                return True
        ack = await self._bus.publish(
            _subject_of(message),
            message.body,
            message_id=message_id,
            headers=headers,
            seconds=seconds,
        )
        return not ack.duplicate

    def _may_go_short(self, message: Message) -> bool:
        # The rights of the release before don't have it: each try would cost its time limit.
        subject = direct_subject(_subject_of(message))
        return self._bus.is_connected and family(subject) not in self._bus.forbidden

    async def _send_short(self, message: Message, way: ShortWay, headers: dict[str, str]) -> bool:
        """Send past the stream; tell whether the answer came, else note what that means."""
        wish = {NEXT_HEADER: NEXT_NAMED} if message.wants_next else {}
        self._short[message.reply] = message
        answered = message.expect()
        is_late = False

        def give_up() -> None:
            nonlocal is_late
            if not answered.done():
                is_late = True
                # The copy in the stream lets others have what comes from this moment on.
                message.wants_next = False
                message.settle()

        # A handle of the loop costs a third of a timeout's context.
        timer = asyncio.get_running_loop().call_later(SHORT_WAY_SECONDS, give_up)
        is_answered = None
        try:
            subject = direct_subject(_subject_of(message))
            await self._bus.send(subject, message.body, {**headers, **wish}, reply=message.reply)
            await answered
        except NoetlError as error:
            _log.info("outcome_left_to_the_stream", error=error.message)
        finally:
            timer.cancel()
            message.answered = None
            is_heard = self._short.pop(message.reply, None) is not None
            if answered.done() and not answered.cancelled():
                # Also if sending failed after all: the command of an answer may be taken already.
                is_answered = is_heard and not is_late
            way.note(is_answered=is_answered)
            if not is_answered:
                message.wants_next = False
            if is_late:
                # It may be committed already.
                headers[AGAIN_HEADER] = "1"
        return is_answered or message.is_done

    async def send_again(self, messages: Sequence[tuple[Message, str]]) -> None:
        """Publish all at once."""
        outgoing = [
            Outgoing(_subject_of(message), message.body, message_id, _repeated(message))
            for message, message_id in messages
        ]
        for result in await self._bus.publish_many(outgoing, seconds=_AGAIN_SECONDS):
            if isinstance(result, NoetlError):
                _log.info("repetition_not_stored", error=result.message)


def _repeated(message: Message) -> dict[str, str]:
    """Return the headers of what goes out again; a start may be the first of a claimed run."""
    mark = {AGAIN_HEADER: "1"} if message.kind == "outcome" else {}
    return {REPLY_HEADER: message.reply, **mark}


def _subject_of(message: Message) -> str:
    return ingress_subject(
        message.place.shard, execution_id=message.command.execution_id, kind=message.kind
    )


class BusClaims:
    """Asks the orchestrator of a shard for commands."""

    def __init__(
        self, bus: Bus, *, identity: Identity, timing: Timing, workloads: Workloads
    ) -> None:
        self._rpc = RpcClient(bus)
        self._identity = identity
        self._timing = timing
        self.workloads = workloads

    async def ask(
        self, note: CommandNotification, *, shard: int, after_start: bool
    ) -> Command | Verdict:
        """Ask until there is an answer."""
        subject = rpc_subject("orchestrator", "claim", shard=shard)
        fence = secret_in(note.server_url)
        request: JsonObject = {
            "execution_id": note.execution_id,
            "event_id": note.event_id,
            "worker_id": self._identity.worker_id,
            "instance": self._identity.instance,
            "after_start": after_start,
            **({"fence": fence} if fence else {}),
        }
        rounds = ClaimRounds(self._timing, note, self.workloads, after_start=after_start)
        return await rounds.ask(lambda: self._ask_once(subject, request, note))

    async def _ask_once(
        self, subject: str, request: JsonObject, note: CommandNotification
    ) -> ClaimAnswer | None:
        known = self.workloads.position(note.execution_id)
        body = orjson.dumps({**request, "known_workload": known})
        try:
            reply = await self._rpc.call(subject, body, seconds=self._timing.claim_seconds)
        except RpcUnavailable as error:
            _log.info("claim_unanswered", event_id=note.event_id, error=error.message)
            return None
        return reply.status, reply.body


class BusControl:
    """Registers with the catalog; asks the orchestrators which runs are over."""

    def __init__(self, bus: Bus, *, identity: Identity, runs: Runs, seconds: float) -> None:
        self._rpc = RpcClient(bus)
        self._identity = identity
        self._runs = runs
        self._seconds = seconds

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
            found = await self._rpc.ask(RUNS_OVER, query, shard=shard, seconds=self._seconds)
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
                rpc_subject("catalog", operation), request, seconds=self._seconds
            )
        except RpcUnavailable as error:
            _log.warning("catalog_unanswered", operation=operation, error=error.message)
            return None
        if reply.status >= 300:
            _log.warning(
                "catalog_refused", operation=operation, status=reply.status, error=reply.error
            )
        return reply
