"""Liveness of workers, as the catalog knows it: the only evidence for judging leases."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from noetl_common.bus.rpc import RpcClient
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.rpc.catalog import RUNTIME_LIVENESS, EdgeSeen, Liveness
from noetl_contract.rpc.catalog import WorkerSeen as WorkerHeard
from noetl_contract.rpc.models import Nothing
from noetl_engine.inputs import WorkerSeen

_log = get_logger()
_RPC_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _CatalogAnswer:
    at: float
    workers: Mapping[str, WorkerSeen]


class WorkerLiveness:
    """The newest answer of the catalog; without one no worker is judged (L3).

    Silence means nothing while heartbeats cannot arrive. It counts from the return of their path:
    the catalog for all workers, and an edge for those that send heartbeats through one.

    Args:
        max_age_seconds: an older answer is ignored.
        edge_stale_seconds: an edge silent for longer counts as down.
    """

    def __init__(
        self,
        *,
        max_age_seconds: float,
        edge_stale_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_age_seconds = max_age_seconds
        self._edge_stale = timedelta(seconds=edge_stale_seconds)
        self._monotonic = monotonic
        self._look: _CatalogAnswer | None = None
        self._catalog_since: datetime | None = None
        self._edge_since: datetime | None = None

    @property
    def workers(self) -> Mapping[str, WorkerSeen] | None:
        """Return the known workers, or None while no worker may be judged."""
        look = self._look
        if look is None or self._monotonic() - look.at > self._max_age_seconds:
            return None
        return look.workers

    @property
    def heard_since(self) -> datetime | None:
        """Return the time since which any worker could be heard without a break."""
        ways = [since for since in (self._catalog_since, self._edge_since) if since is not None]
        return max(ways, default=None)

    def heard(self, answer: Liveness) -> None:
        """Store an answer of the catalog."""
        now = datetime.fromisoformat(answer.now)
        if self.workers is None or self._catalog_since is None:
            self._catalog_since = now
        catalog_since = self._catalog_since
        self._hear_edges(answer.edges.values(), now)
        edge_since = max(catalog_since, self._edge_since or catalog_since)
        self._look = _CatalogAnswer(
            self._monotonic(),
            {
                name: _worker(seen, heard_since=edge_since if seen.over_edge else catalog_since)
                for name, seen in answer.workers.items()
            },
        )

    def _hear_edges(self, edges: Iterable[EdgeSeen], now: datetime) -> None:
        """Update the time since which an edge has been there without a break."""
        begun = [
            datetime.fromisoformat(edge.process_since)
            for edge in edges
            if now - datetime.fromisoformat(edge.heartbeat_at) <= self._edge_stale
        ]
        since = min(begun, default=now)
        self._edge_since = since if self._edge_since is None else max(self._edge_since, since)

    def not_heard(self) -> None:
        """Note that the catalog gave no answer: from now on no worker is judged."""
        self._look = None


async def run_liveness(
    liveness: WorkerLiveness,
    rpc: RpcClient,
    *,
    interval_seconds: float,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Ask the catalog every interval until cancelled."""
    was_heard = True
    while True:
        beat()
        try:
            liveness.heard(await rpc.ask(RUNTIME_LIVENESS, Nothing(), seconds=_RPC_SECONDS))
        except NoetlError as error:
            liveness.not_heard()
            if was_heard:
                _log.warning("liveness_unknown", error=error.message)
            was_heard = False
        else:
            was_heard = True
        await asyncio.sleep(interval_seconds)


def _worker(seen: WorkerHeard, *, heard_since: datetime) -> WorkerSeen:
    left = seen.deregistered_at
    return WorkerSeen(
        heartbeat_at=datetime.fromisoformat(seen.heartbeat_at),
        process_since=datetime.fromisoformat(seen.process_since),
        instance=seen.instance,
        deregistered_at=None if left is None else datetime.fromisoformat(left),
        heard_since=heard_since,
    )
