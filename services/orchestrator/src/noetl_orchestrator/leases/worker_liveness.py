"""Liveness of workers, as the catalog knows it: the only evidence for judging leases."""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from noetl_bus.rpc import RpcClient
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.rpc.catalog import RUNTIME_LIVENESS, EdgeSeen, Liveness
from noetl_contract.rpc.catalog import WorkerSeen as WorkerHeard
from noetl_contract.rpc.models import Nothing
from noetl_engine.inputs import WorkerSeen

from noetl_orchestrator.catalog.pauses import Pauses
from noetl_orchestrator.settings import Settings

_log = get_logger()
_RPC_SECONDS = 2.0
# An answer about the workers counts for so many of its intervals.
_LIVENESS_INTERVALS = 3


class WorkerLiveness:
    """The newest answer of the catalog; without one no worker is judged (L3).

    Silence means nothing while heartbeats cannot arrive. It counts from the return of their path:
    the catalog for all workers, and an edge for those that send heartbeats through one. A leap of
    the database's clock interrupts it too.
    """

    def __init__(
        self,
        settings: Settings,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        pauses: Pauses | None = None,
    ) -> None:
        self._pauses = pauses or Pauses()
        self._max_age_seconds = settings.liveness_seconds * _LIVENESS_INTERVALS
        self._rest_seconds = settings.liveness_idle_seconds
        self._rests = False
        self._edge_stale = timedelta(seconds=settings.edge_stale_seconds())
        self._monotonic = monotonic
        self._workers: Mapping[str, WorkerSeen] | None = None
        self._heard_at = float("-inf")
        self._is_silent = False
        self._interruptions = 0
        self._catalog_since: datetime | None = None
        self._edge_since: datetime | None = None

    @property
    def workers(self) -> Mapping[str, WorkerSeen] | None:
        """Return the known workers, or None while no worker may be judged."""
        limit = self._max_age_seconds + (self._rest_seconds if self._rests else 0.0)
        is_old = self._monotonic() - self._heard_at > limit
        return None if is_old else self._workers

    @property
    def heard_since(self) -> datetime | None:
        """Return the time since which heartbeats could arrive without interruption."""
        ways = [since for since in (self._catalog_since, self._edge_since) if since is not None]
        return max(ways, default=None)

    def heard(self, answer: Liveness) -> None:
        """Store an answer of the catalog."""
        self._pauses.update(answer.pauses)
        now = datetime.fromisoformat(answer.now)
        if self.workers is None or self._catalog_since is None:
            self._catalog_since = now
        catalog_since = self._catalog_since
        self._hear_edges(answer.edges.values(), now)
        edge_since = max(catalog_since, self._edge_since or catalog_since)
        self._heard_at = self._monotonic()
        self._workers = {
            name: _worker(seen, heard_since=edge_since if seen.over_edge else catalog_since)
            for name, seen in answer.workers.items()
        }
        self._rests = False

    def _hear_edges(self, edges: Iterable[EdgeSeen], now: datetime) -> None:
        """Update the time since which an edge has been there without a break."""
        begun = [
            datetime.fromisoformat(edge.process_since)
            for edge in edges
            if now - datetime.fromisoformat(edge.heartbeat_at) <= self._edge_stale
        ]
        since = min(begun, default=now)
        self._edge_since = since if self._edge_since is None else max(self._edge_since, since)

    def rest(self, *, is_busy: bool) -> bool:
        """Return whether the next question can wait: nothing is held, and the last one is young.

        The last answer counts until the next one then; the first held command ends the rest.
        """
        if is_busy:
            return False
        self._rests = True
        return self._monotonic() - self._heard_at < self._rest_seconds

    def not_heard(self) -> None:
        """Note that the catalog gave no answer: from now on no worker is judged."""
        self._workers = None
        self._rests = False

    def interrupt(self) -> None:
        """Judge no worker by times from before a leap of the database's clock.

        Silence counts anew from the next answer of the catalog, in the time of after the leap.
        """
        self._interruptions += 1
        self._edge_since = None
        self.not_heard()

    async def ask(self, rpc: RpcClient) -> None:
        """Ask the catalog; log the first of several failures."""
        asked_after = self._interruptions
        try:
            answer = await rpc.ask(RUNTIME_LIVENESS, Nothing(), seconds=_RPC_SECONDS)
            if asked_after == self._interruptions:
                self.heard(answer)
            self._is_silent = False
        except NoetlError as error:
            self.not_heard()
            if not self._is_silent:
                _log.warning("liveness_unknown", error=error.message)
            self._is_silent = True


def _worker(seen: WorkerHeard, *, heard_since: datetime) -> WorkerSeen:
    gone, left = seen.deregistered_at, seen.left_at
    return WorkerSeen(
        heartbeat_at=datetime.fromisoformat(seen.heartbeat_at),
        process_since=datetime.fromisoformat(seen.process_since),
        instance=seen.instance,
        deregistered_at=None if gone is None else datetime.fromisoformat(gone),
        left_at=None if left is None else datetime.fromisoformat(left),
        heard_since=heard_since,
    )
