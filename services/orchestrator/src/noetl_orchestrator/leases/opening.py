"""Build the sweep, the liveness of workers and the handler of child starts."""

from collections.abc import Callable
from dataclasses import dataclass

from noetl_common.bus.broker import Bus
from noetl_common.pg.database import Database
from noetl_engine.inputs import Facts

from noetl_orchestrator.leases.broker import BrokerView
from noetl_orchestrator.leases.children import ChildHandler, Children
from noetl_orchestrator.leases.sweeper import Sweeper, SweepSettings
from noetl_orchestrator.leases.worker_liveness import WorkerLiveness
from noetl_orchestrator.log.opening import Log
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.dispatch import Dispatcher

# An answer about the workers counts for so many of its intervals.
_LIVENESS_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Leases:
    """The watch over commands and children of a shard."""

    liveness: WorkerLiveness
    sweeper: Sweeper
    children: ChildHandler


def open_liveness(settings: Settings) -> WorkerLiveness:
    """Return the liveness of workers, unknown until the catalog answers."""
    return WorkerLiveness(
        max_age_seconds=settings.liveness_seconds * _LIVENESS_INTERVALS,
        edge_stale_seconds=settings.edge_stale_seconds(),
    )


def open_leases(
    settings: Settings,
    bus: Bus,
    log: Log,
    dispatcher: Dispatcher,
    *,
    database: Database,
    liveness: WorkerLiveness,
    make_facts: Callable[[], Facts],
    new_id: Callable[[], int],
) -> Leases:
    """Build the sweep and the handler of child starts."""
    sweeper = Sweeper(
        log=log,
        dispatcher=dispatcher,
        liveness=liveness,
        broker=BrokerView(bus),
        make_facts=make_facts,
        new_id=new_id,
        settings=SweepSettings(
            next_look_seconds=settings.command_claim_lease_seconds,
            again_seconds=settings.lease_again_seconds,
            again_max_seconds=settings.pending_retry_max_seconds,
            limit=settings.lease_sweep_limit,
            pending_retry_seconds=settings.pending_retry_seconds,
            pending_retry_max_seconds=settings.pending_retry_max_seconds,
            backlog_seconds=settings.ingress_backlog_seconds,
        ),
    )
    children = ChildHandler(
        Children(database), shard=settings.shard_index, shard_count=settings.shard_count
    )
    return Leases(liveness, sweeper, children)
