"""The demand for workers, asked of all shards: for its route, and whenever metrics are read."""

from collections.abc import Mapping, Sequence

from noetl_common.logging import get_logger
from noetl_contract.rpc.orchestrator import DEMAND, DemandQuery, PoolDemand

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.metrics import DEMAND_UNKNOWN, POOL_COMMANDS, POOL_DEMAND, POOL_OLDEST
from noetl_api_gateway.upstream.services import Services

type Demands = Mapping[str, PoolDemand]
"""The demand by pool."""

_log = get_logger()
MEASURED = (POOL_COMMANDS, POOL_DEMAND, POOL_OLDEST)
_MOST_POOLS = 100
_OTHERS = "_other"
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
    found: dict[str, PoolDemand] = {}
    for shard in await services.ask_all(DEMAND, DemandQuery(pool=pool), within=within or "usual"):
        for one in shard.pools:
            found[one.pool] = added_up([found[one.pool], one]) if one.pool in found else one
    return found


def added_up(demands: Sequence[PoolDemand], *, pool: str | None = None) -> PoolDemand:
    """Return several demands as one, by the name of the first unless another is given."""
    return PoolDemand(
        pool=demands[0].pool if pool is None else pool,
        waiting=sum(one.waiting for one in demands),
        running=sum(one.running for one in demands),
        oldest_seconds=max(one.oldest_seconds for one in demands),
    )


async def measure_demand(services: Services) -> None:
    """Export the demand of all pools; none at all while it is not known.

    A number that is no longer true would stop workers that are needed.
    """
    shown: Demands = {}
    try:
        shown = _shown(await ask_demand(services, within=_SECONDS))
    except Refusal as refusal:
        DEMAND_UNKNOWN.inc()
        _log.warning("demand_unknown", error=refusal.text)
    for family in MEASURED:
        family.clear()
    for pool, one in shown.items():
        POOL_COMMANDS.labels(pool, "waiting").set(one.waiting)
        POOL_COMMANDS.labels(pool, "running").set(one.running)
        POOL_DEMAND.labels(pool).set(one.waiting + one.running)
        POOL_OLDEST.labels(pool).set(one.oldest_seconds)


def _shown(found: Demands) -> Demands:
    """Return the fullest pools by name and the others as one; names are whatever users write."""
    named = [one for one in found.values() if one.pool != _OTHERS]
    ranked = sorted(named, key=lambda one: (-(one.waiting + one.running), one.pool))
    shown = {one.pool: one for one in ranked[:_MOST_POOLS]}
    shown.setdefault("shared", found.get("shared", PoolDemand(pool="shared", waiting=0, running=0)))
    rest = [one for one in ranked[_MOST_POOLS:] if one.pool not in shown]
    if _OTHERS in found:
        rest.append(found[_OTHERS])
    if rest:
        shown[_OTHERS] = added_up(rest, pool=_OTHERS)
    return shown
