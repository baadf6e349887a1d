"""The demand for workers, asked of all shards: for its route, and whenever metrics are read."""

from collections.abc import Mapping

from noetl_common.logging import get_logger
from noetl_contract.rpc.orchestrator import DEMAND, DemandQuery

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.metrics import DEMAND_UNKNOWN, POOL_COMMANDS, POOL_DEMAND
from noetl_api_gateway.upstream.services import Services

type Demands = Mapping[str, tuple[int, int]]
"""Commands that wait and that run, by pool."""

_log = get_logger()
_MOST_POOLS = 100
_OTHERS = "other"
_SECONDS = 1.0


async def ask_demand(
    services: Services, *, pool: str | None = None, within: float | None = None
) -> Demands:
    """Return the demand of a pool, or of all that have some, over all shards.

    Args:
        services: the shards.
        pool: as subjects of commands name it.
        within: seconds for the answers; the usual time if absent.

    Raises:
        Refusal: 503, a shard is silent; the number is never that of some shards only.
    """
    found: dict[str, tuple[int, int]] = {}
    for shard in await services.ask_all(DEMAND, DemandQuery(pool=pool), within=within or "usual"):
        for one in shard.pools:
            waiting, running = found.get(one.pool, (0, 0))
            found[one.pool] = waiting + one.waiting, running + one.running
    return found


async def measure_demand(services: Services) -> None:
    """Export the demand of all pools; none at all while it is not known.

    A number that is no longer true would stop workers that are needed.
    """
    try:
        found = await ask_demand(services, within=_SECONDS)
    except Refusal as refusal:
        DEMAND_UNKNOWN.inc()
        _log.warning("demand_unknown", error=refusal.text)
        POOL_COMMANDS.clear()
        POOL_DEMAND.clear()
        return
    POOL_COMMANDS.clear()
    POOL_DEMAND.clear()
    for pool, (waiting, running) in _shown(found).items():
        POOL_COMMANDS.labels(pool, "waiting").set(waiting)
        POOL_COMMANDS.labels(pool, "running").set(running)
        POOL_DEMAND.labels(pool).set(waiting + running)


def _shown(found: Demands) -> Demands:
    """Return the fullest pools by name and the others as one; names are whatever users write."""
    ranked = sorted(found.items(), key=lambda item: (-sum(item[1]), item[0]))
    shown = {"shared": (0, 0)} | dict(ranked[:_MOST_POOLS])
    rest = [numbers for pool, numbers in ranked[_MOST_POOLS:] if pool not in shown]
    if rest:
        shown[_OTHERS] = sum(one[0] for one in rest), sum(one[1] for one in rest)
    return shown
