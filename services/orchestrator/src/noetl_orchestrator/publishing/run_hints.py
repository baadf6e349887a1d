"""Hints to workers: runs and executions that ended without them.

A heartbeat makes up for a lost hint about runs; what a worker may not have heard, it claims.
"""

from collections.abc import Sequence
from itertools import batched

from noetl_common.bus.broker import Bus
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.hints import RunsOverHint
from noetl_contract.subjects import control_subject, pool_segment

_log = get_logger()
_MOST_RUNS = 10_000


class RunHints:
    """Hints to the workers of a pool about runs that are over, so that they stop the tools."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def send(
        self,
        execution_id: int,
        pool: str,
        over: Sequence[tuple[int, int]] = (),
        *,
        ended: bool = False,
    ) -> None:
        """Send the runs of one execution; log errors and leave the rest to heartbeats.

        With ``ended`` all runs of it are over, those included that have not begun.
        """
        subject = control_subject(pool_segment(execution_pool=pool, playbook_path=None))
        for part in batched(over, _MOST_RUNS, strict=False) if over else ((),):
            hint = RunsOverHint(execution_id=execution_id, over=list(part), ended=ended)
            try:
                await self._bus.send(subject, hint.to_json())
            except NoetlError as error:
                _log.warning("run_hint_not_sent", error=error.message)
