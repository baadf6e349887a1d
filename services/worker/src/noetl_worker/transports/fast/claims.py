"""How often a claim is asked for, and what its answers mean."""

from collections.abc import Awaitable, Callable, Mapping

from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.commands import CommandNotification
from noetl_contract.json import Json

from noetl_worker.commands import Command, UndecodableClaim, decode_claim
from noetl_worker.transports.fast.channel import Verdict
from noetl_worker.transports.fast.timing import Timing
from noetl_worker.workloads import Workloads

_log = get_logger()

type ClaimAnswer = tuple[int, Json]
"""Status and body."""


class ClaimRounds:
    """Ask for a command until there is an answer, or until it is better given back.

    With ``after_start`` there is no giving back: if the start that was stored is this worker's
    own, no other can get the command.
    """

    def __init__(
        self,
        timing: Timing,
        note: CommandNotification,
        workloads: Workloads,
        *,
        after_start: bool,
    ) -> None:
        self._timing = timing
        self._note = note
        self._workloads = workloads
        self._after_start = after_start

    async def ask(self, once: Callable[[], Awaitable[ClaimAnswer | None]]) -> Command | Verdict:
        """Return what the first answer of ``once`` means, or ``give_back`` without one."""
        timing, after_start = self._timing, self._after_start
        first = timing.claim_pause_seconds
        async for _ in backoff(
            first_seconds=first,
            longest_seconds=first if after_start else timing.claim_longest_pause_seconds,
            total_seconds=None if after_start else timing.claim_give_up_seconds,
        ):
            answer = await once()
            verdict = None if answer is None else self._judged(*answer)
            if verdict is not None:
                return verdict
        return "give_back"

    def _judged(self, status: int, body: Json) -> Command | Verdict | None:
        if status == 409:
            return "refused"
        if status >= 300 or (isinstance(body, Mapping) and body.get("status") == "retry"):
            _log.info("claim_refused", event_id=self._note.event_id, status=status)
            return None
        try:
            return decode_claim(body, self._note, self._workloads)
        except UndecodableClaim as error:
            _log.error("claim_undecodable", event_id=self._note.event_id, error=error.message)
            return None
