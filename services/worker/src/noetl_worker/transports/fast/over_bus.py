"""The fast path over the broker: ingress messages, claims and registration as requests."""

from collections.abc import Sequence

from noetl_common.bus.broker import Bus
from noetl_common.bus.publish import Outgoing
from noetl_common.bus.rpc import RpcClient, RpcUnavailable
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.telemetry.carrier import carried_headers
from noetl_common.telemetry.tracing import inside, tracing
from noetl_common.writes.sender import ANSWER_SECONDS, Sender
from noetl_common.writes.write import Write
from noetl_contract.commands import CommandNotification
from noetl_contract.ingress import AGAIN_HEADER, NEXT_HEADER, NEXT_NAMED, REPLY_HEADER
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.rpc.orchestrator import RUNS_OVER, ClaimRequest, RunsQuery
from noetl_contract.subjects import rpc_subject

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
    """Requests outcomes of the owners first, and puts the rest into the ingress stream.

    An outcome is kept until its answer has come, so a request that is lost is only late.
    """

    def __init__(self, bus: Bus, *, is_direct: bool = True) -> None:
        self._bus = bus
        self._inbox = bus.inbox()
        self._sender = Sender(bus, is_direct=is_direct)

    @property
    def is_open(self) -> bool:
        """The stream takes messages whenever it is there."""
        return True

    def open(self, message: Message, hear: Hear) -> str:
        """Return the reply subject of a message, whose answers ``hear`` gets."""
        message.write = Write(
            self._inbox,
            shard=message.place.shard,
            execution_id=message.command.execution_id,
            kind=message.kind,
            body=message.body,
            take=hear,
        )
        return message.write.reply

    def forget(self, reply: str) -> None:
        """Hear no more under a reply subject."""
        self._inbox.forget(reply)

    async def send(self, message: Message, message_id: str, *, seconds: float) -> bool:
        """Send once, until it is answered or stored."""
        if tracing() is None:
            return await self._send(message, message_id, seconds=seconds)
        with inside(f"report {message.kind}", kind="producer"):
            return await self._send(message, message_id, seconds=seconds)

    async def _send(self, message: Message, message_id: str, *, seconds: float) -> bool:
        write = _write_of(message)
        write.headers.update(carried_headers())
        # Only the first: what is repeated may wait in the stream already.
        is_first = message.kind == "outcome" and not message.tries
        if not is_first:
            return await self._spill(write, message_id, seconds=seconds)

        def on_late() -> None:
            # A repetition lets others have what comes from this moment on.
            message.wants_next = False

        write.wish = {NEXT_HEADER: NEXT_NAMED} if message.wants_next else {}
        write.on_late = on_late
        try:
            if self._sender.is_direct:
                if await self._sender.request(write, seconds=ANSWER_SECONDS):
                    return True
                message.wants_next = False
            is_new = await self._spill(write, message_id, seconds=seconds)
            if message.wants_next:
                await write.settled(ANSWER_SECONDS)
            return is_new
        finally:
            message.wants_next = message.wants_next and write.is_settled

    async def _spill(self, write: Write, message_id: str, *, seconds: float) -> bool:
        ack = await self._sender.spill(write, message_id=message_id, seconds=seconds)
        return not ack.duplicate

    async def send_again(self, messages: Sequence[tuple[Message, str]]) -> None:
        """Publish all at once."""
        outgoing = [
            Outgoing(_write_of(message).subject, message.body, message_id, _repeated(message))
            for message, message_id in messages
        ]
        for result in await self._bus.publish_many(outgoing, seconds=_AGAIN_SECONDS):
            if isinstance(result, NoetlError):
                _log.info("repetition_not_stored", error=result.message)


def _write_of(message: Message) -> Write:
    if message.write is None:
        raise RuntimeError("the message was not opened by this channel")
    return message.write


def _repeated(message: Message) -> dict[str, str]:
    """Return the headers of what goes out again; a start may be the first of a claimed run."""
    mark = {AGAIN_HEADER: "1"} if message.kind == "outcome" else {}
    return {REPLY_HEADER: message.reply, **mark}


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
        request = ClaimRequest(
            execution_id=note.execution_id,
            event_id=note.event_id,
            worker_id=self._identity.worker_id,
            instance=self._identity.instance,
            after_start=after_start,
            fence=secret_in(note.server_url) or None,
        )
        rounds = ClaimRounds(self._timing, note, self.workloads, after_start=after_start)
        return await rounds.ask(lambda: self._ask_once(subject, request, note))

    async def _ask_once(
        self, subject: str, request: ClaimRequest, note: CommandNotification
    ) -> ClaimAnswer | None:
        known = self.workloads.position(note.execution_id)
        body = request.but(known_workload=known).to_json()
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
