"""Everything that leaves the process after a commit: messages, hints to workers and siblings."""

from collections.abc import Iterable, Sequence
from itertools import batched

from noetl_bus.broker import Bus
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.hints import RunsOverHint
from noetl_contract.subjects import control_subject, pool_segment

from noetl_orchestrator import metrics
from noetl_orchestrator.log.outbox_row import OutboxRow
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.publishing.publisher import OutboxPublisher, Repetitions
from noetl_orchestrator.replicas.replicas import Replicas

_log = get_logger()
_MOST_RUNS = 10_000


class AfterCommit:
    """Send the effects of commits; what is lost of them, sweeps and heartbeats make up for."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        publisher: OutboxPublisher,
        repetitions: Repetitions,
        replicas: Replicas,
    ) -> None:
        self._bus = bus
        self._store = store
        self._publisher = publisher
        self._repetitions = repetitions
        self._replicas = replicas

    async def publish(self, rows: Iterable[OutboxRow], moved: Sequence[tuple[int, int]]) -> None:
        """Publish rows of commits; ``moved`` are their executions with the new positions."""
        await self._publisher.publish(rows)
        await self._replicas.tell(moved)

    async def stop_runs(
        self,
        execution_id: int,
        pool: str,
        over: Sequence[tuple[int, int]] = (),
        *,
        ended: bool = False,
    ) -> None:
        """Hint to the workers of a pool that runs of an execution are over, so they stop the tools.

        With ``ended`` all runs of it are, those included that have not begun. A heartbeat makes up
        for a lost hint; what a worker may not have heard, it claims.
        """
        subject = control_subject(pool_segment(execution_pool=pool, playbook_path=None))
        for part in batched(over, _MOST_RUNS, strict=False) if over else ((),):
            hint = RunsOverHint(execution_id=execution_id, over=list(part), ended=ended)
            try:
                await self._bus.send(subject, hint.to_json())
            except NoetlError as error:
                _log.warning("run_hint_not_sent", error=error.message)

    async def send_messages(self, rows: Sequence[OutboxRow]) -> None:
        """Put messages that belong to no commit into the outbox, and publish those that are new.

        Raises:
            NoetlError: the database is away.
        """
        added = await self._store.add_messages(rows)
        await self._publisher.publish(row for row in rows if row.outbox_id in added)

    async def release_handed(self, repeated: Sequence[tuple[int, int]]) -> None:
        """Publish commands that may have been lost with the answer to an outcome."""
        try:
            handed = await self._store.find_handed(repeated)
            metrics.HANDED_RELEASED.inc(await self._repetitions.send(handed))
        except NoetlError as error:
            # The sweep finds them later.
            _log.warning("handed_commands_not_released", error=error.message)
