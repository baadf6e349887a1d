"""The fast path over the broker: ingress messages, claims and registration as requests."""

from collections.abc import Sequence

from noetl_bus.broker import Bus
from noetl_bus.publish import Outgoing
from noetl_bus.rpc import RpcClient, RpcUnavailable
from noetl_bus.writes.sender import ANSWER_SECONDS, Sender
from noetl_bus.writes.write import Write
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.telemetry.carrier import carried_headers
from noetl_common.telemetry.tracing import inside, tracing
from noetl_contract.commands import CommandNotification
from noetl_contract.ingress import (
    AGAIN_HEADER,
    NEXT_HEADER,
    NEXT_NAMED,
    REPLY_HEADER,
    ClaimMessage,
    encode_message,
)
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply, decode_reply
from noetl_contract.rpc.orchestrator import RUNS_OVER, RunsQuery
from noetl_contract.subjects import rpc_subject

from noetl_worker.commands import secret_in
from noetl_worker.control_plane.registration import Identity
from noetl_worker.transports.fast.channel import ClaimAnswer, Hear
from noetl_worker.transports.fast.message import Message
from noetl_worker.transports.runs import Runs

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

    def open(self, message: Message, hear: Hear) -> str:
        """Return the reply subject of a message, whose answers ``hear`` gets."""
        message.write = Write(
            self._inbox,
            shard=message.command.shard,
            execution_id=message.command.execution_id,
            kind=message.kind,
            body=message.body,
            take=hear,
        )
        return message.write.reply

    def forget(self, message: Message) -> None:
        """Hear no more answers to a message, and wake who waits for one."""
        message.settle()
        self._inbox.forget(message.reply)
        message.write = None  # it knows the message

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

    async def claim(
        self,
        note: CommandNotification,
        identity: Identity,
        *,
        known_workload: int,
        after_start: bool,
        seconds: float,
    ) -> ClaimAnswer | None:
        """Ask the owner of the execution."""
        claim = ClaimMessage(
            execution_id=note.execution_id,
            event_id=note.event_id,
            worker_id=identity.worker_id,
            instance=identity.instance,
            after_start=after_start,
            fence=secret_in(note.server_url) or None,
            known_workload=known_workload,
        )
        with (
            inside("claim command", kind="client"),
            Write(
                self._inbox,
                shard=note.fast.shard if note.fast is not None else 0,
                execution_id=note.execution_id,
                kind="claim",
                body=encode_message(claim),
                headers=carried_headers(),
            ) as write,
        ):
            await self._sender.request(write, seconds=seconds)
            answer = write.take_next()
        if answer is None:
            _log.info("claim_unanswered", event_id=note.event_id)
            return None
        try:
            reply = decode_reply(answer)
            body = reply.body
        except ValueError as error:
            _log.error("claim_undecodable", event_id=note.event_id, error=str(error))
            return None
        return reply.status, body


def _write_of(message: Message) -> Write:
    if message.write is None:
        raise RuntimeError("the message was not opened by this channel")
    return message.write


def _repeated(message: Message) -> dict[str, str]:
    """Return the headers of what goes out again; a start may be the first of a claimed run."""
    mark = {AGAIN_HEADER: "1"} if message.kind == "outcome" else {}
    return {REPLY_HEADER: message.reply, **mark}


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
