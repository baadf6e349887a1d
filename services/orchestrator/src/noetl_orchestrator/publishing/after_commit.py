"""Everything that leaves the process after a commit: messages, hints to workers and siblings."""

from collections.abc import Iterable, Sequence

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger

from noetl_orchestrator import metrics
from noetl_orchestrator.log.outbox_row import OutboxRow
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.publishing.publisher import OutboxPublisher, Repetitions
from noetl_orchestrator.publishing.run_hints import RunHints
from noetl_orchestrator.replicas.replicas import Replicas

_log = get_logger()


class AfterCommit:
    """Send the effects of commits; what is lost of them, sweeps and heartbeats make up for.

    Attributes:
        hints: to workers, about runs that are over.
    """

    def __init__(
        self,
        store: Store,
        publisher: OutboxPublisher,
        repetitions: Repetitions,
        hints: RunHints,
        replicas: Replicas,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._repetitions = repetitions
        self._replicas = replicas
        self.hints = hints

    async def publish(self, rows: Iterable[OutboxRow], moved: Sequence[tuple[int, int]]) -> None:
        """Publish rows of commits; ``moved`` are their executions with the new positions."""
        await self._publisher.publish(rows)
        await self._replicas.tell(moved)

    async def send_messages(self, rows: Sequence[OutboxRow]) -> None:
        """Put messages that belong to no commit into the outbox, and publish those that are new.

        Raises:
            NoetlError: the database is away.
        """
        added = await self._store.add_messages(rows)
        await self._publisher.publish(row for row in rows if row.outbox_id in added)

    async def release_handed(self, repeated: Sequence[tuple[int, int]]) -> None:
        """Publish commands that may have been lost with the answer to an outcome."""
        if not repeated:
            return
        try:
            handed = await self._store.find_handed(repeated)
            metrics.HANDED_RELEASED.inc(await self._repetitions.send(handed))
        except NoetlError as error:
            # The sweep finds them later.
            _log.warning("handed_commands_not_released", error=error.message)
