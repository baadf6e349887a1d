"""How often a claim is asked for."""

from collections.abc import Awaitable, Callable

from noetl_common.retry import backoff

from noetl_worker.commands import Command
from noetl_worker.transports.fast.channel import Verdict
from noetl_worker.transports.fast.timing import Timing


class ClaimRounds:
    """Ask for a command until there is an answer, or until it is better given back.

    With ``after_start`` there is no giving back: if the start that was stored is this worker's
    own, no other can get the command.
    """

    def __init__(self, timing: Timing, *, after_start: bool) -> None:
        self._timing = timing
        self._after_start = after_start

    async def ask(
        self, once: Callable[[], Awaitable[Command | Verdict | None]]
    ) -> Command | Verdict:
        """Return the first answer of ``once``, or ``give_back`` without one."""
        timing, after_start = self._timing, self._after_start
        first = timing.claim_pause_seconds
        async for _ in backoff(
            first_seconds=first,
            longest_seconds=first if after_start else timing.claim_longest_pause_seconds,
            total_seconds=None if after_start else timing.claim_give_up_seconds,
        ):
            verdict = await once()
            if verdict is not None:
                return verdict
        return "give_back"
