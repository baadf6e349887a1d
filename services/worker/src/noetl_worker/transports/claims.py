"""Claims by message: the right to run a command that may be another worker's already."""

from collections.abc import Mapping
from typing import Literal

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.rpc import RpcClient, RpcUnavailable
from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.commands import CommandNotification
from noetl_contract.subjects import rpc_subject

from noetl_worker.commands import Command, UndecodableClaim, decode_claim, secret_in
from noetl_worker.control_plane.registration import Identity
from noetl_worker.transports.timing import Timing

_log = get_logger()

type Verdict = Literal["refused", "give_back"]


class MessageClaims:
    """Ask the orchestrator of a shard for commands."""

    def __init__(self, bus: Bus, *, identity: Identity, timing: Timing) -> None:
        self._rpc = RpcClient(bus)
        self._identity = identity
        self._timing = timing

    async def ask(
        self, note: CommandNotification, *, shard: int, after_start: bool
    ) -> Command | Verdict:
        """Ask until there is an answer: the command, ``refused``, or ``give_back`` without one.

        With ``after_start`` there is no giving back: if the start that the broker knows is this
        worker's own, no other can get the command.
        """
        timing = self._timing
        subject = rpc_subject("orchestrator", "claim", shard=shard)
        fence = secret_in(note.server_url)
        request = orjson.dumps(
            {
                "execution_id": note.execution_id,
                "event_id": note.event_id,
                "worker_id": self._identity.worker_id,
                "instance": self._identity.instance,
                "after_start": after_start,
                **({"fence": fence} if fence else {}),
            }
        )
        first = timing.claim_pause_seconds
        async for _ in backoff(
            first_seconds=first,
            longest_seconds=first if after_start else timing.claim_longest_pause_seconds,
            total_seconds=None if after_start else timing.claim_give_up_seconds,
        ):
            verdict = await self._ask_once(subject, request, note)
            if verdict is not None:
                return verdict
        return "give_back"

    async def _ask_once(
        self, subject: str, request: bytes, note: CommandNotification
    ) -> Command | Verdict | None:
        """Ask once; None means: ask again."""
        try:
            reply = await self._rpc.call(subject, request, seconds=self._timing.claim_seconds)
        except RpcUnavailable as error:
            _log.info("claim_unanswered", event_id=note.event_id, error=error.message)
            return None
        if reply.status == 409:
            return "refused"
        body = reply.body
        if reply.status >= 300 or (isinstance(body, Mapping) and body.get("status") == "retry"):
            return None
        try:
            return decode_claim(body, note)
        except UndecodableClaim as error:
            _log.error("claim_undecodable", event_id=note.event_id, error=error.message)
            return None
