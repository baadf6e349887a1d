"""How often a claim is asked for, and what its answers mean."""

from collections.abc import Mapping
from typing import Literal

from noetl_common.logging import get_logger
from noetl_common.retry import Wake, backoff
from noetl_contract.commands import CommandNotification
from noetl_contract.json import Json

from noetl_worker.commands import Command, UndecodableClaim, decode_claim
from noetl_worker.control_plane.registration import Identity
from noetl_worker.transports.fast.channel import Channel
from noetl_worker.transports.fast.timing import Timing
from noetl_worker.workloads import Workloads

_log = get_logger()

type Verdict = Literal["refused", "give_back"]


class Claims:
    """Asks for the right to run a command.

    Attributes:
        workloads: those that answers have brought, which other commands name.
        wake: ends the pauses of claims that were not answered.
    """

    def __init__(
        self, channel: Channel, *, identity: Identity, timing: Timing, workloads: Workloads
    ) -> None:
        self._channel = channel
        self._identity = identity
        self._timing = timing
        self.workloads = workloads
        self.wake = Wake()

    async def ask(self, note: CommandNotification, *, after_start: bool) -> Command | Verdict:
        """Ask until there is an answer: the command, ``refused``, or ``give_back`` without one.

        With ``after_start`` there is no giving back: if the start that was stored is this
        worker's own, no other can get the command.
        """
        timing = self._timing
        first = timing.claim_pause_seconds
        async for _ in backoff(
            first_seconds=first,
            longest_seconds=first if after_start else timing.claim_longest_pause_seconds,
            total_seconds=None if after_start else timing.claim_give_up_seconds,
            wake=self.wake,
        ):
            answer = await self._channel.claim(
                note,
                self._identity,
                known_workload=self.workloads.position(note.execution_id),
                after_start=after_start,
                seconds=timing.claim_seconds,
            )
            verdict = None if answer is None else self._judged(note, *answer)
            if verdict is not None:
                self.wake()
                return verdict
        return "give_back"

    def _judged(
        self, note: CommandNotification, status: int, body: Json
    ) -> Command | Verdict | None:
        if status == 409:
            return "refused"
        if status >= 300 or (isinstance(body, Mapping) and body.get("status") == "retry"):
            _log.info("claim_refused", event_id=note.event_id, status=status)
            return None
        try:
            return decode_claim(body, note, self.workloads)
        except UndecodableClaim as error:
            _log.error("claim_undecodable", event_id=note.event_id, error=error.message)
            return None
