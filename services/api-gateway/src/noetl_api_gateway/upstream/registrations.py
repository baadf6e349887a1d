"""Registering the subscription of a path."""

from noetl_common.ids import SnowflakeIds, mint_on_shard_of
from noetl_contract.http.catalog.subscriptions import SubscriptionBody
from noetl_contract.rpc.catalog import RESOLVE, EntryName
from noetl_contract.rpc.orchestrator import SUBSCRIPTION_REGISTER, SubscriptionRegistration

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.services import Services

_KIND = "subscription"


async def registered(services: Services, ids: SnowflakeIds, path: str) -> SubscriptionBody:
    """Register a path; all registrations of one path meet on one shard.

    Raises:
        Refusal: no such entry, or it is of another kind.
    """
    try:
        found = await services.ask(RESOLVE, EntryName(path=path))
    except Refusal as refusal:
        if refusal.status == 404:
            raise Refusal(404, f"Subscription not found: {path[:500]}") from refusal
        raise
    if found.kind.lower() != _KIND:
        text = f"Catalog entry '{path[:500]}' is kind '{found.kind}', not '{_KIND}'"
        raise Refusal(422, text)
    home = f"subscription:{path}"
    subscription_id = mint_on_shard_of(ids, home, shard_count=services.shard_count)
    wanted = SubscriptionRegistration(
        subscription_id=subscription_id, path=path, catalog_id=found.catalog_id
    )
    return await services.ask(SUBSCRIPTION_REGISTER, wanted, execution_id=subscription_id)
