"""Reads of subscriptions, one function per request."""

from datetime import UTC

from noetl_common.bus.rpc import RpcHandler
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.rpc import refused
from noetl_projector.settings import Settings
from noetl_projector.subscriptions.store import Subscription, SubscriptionStore

_MOST_SUBSCRIPTIONS = 10_000


class SubscriptionHandlers:
    """One method per request."""

    def __init__(self, store: SubscriptionStore, *, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "subscription.list": self.on_list,
            "subscription.get": self.on_get,
        }
        shard = self._settings.shard_index
        return {
            rpc_subject("projector", name, shard=shard): handler
            for name, handler in handlers.items()
        }

    async def on_list(self, _request: JsonObject) -> RpcReply:
        """List all subscriptions of the shard by id."""
        subscriptions = await self._store.list_subscriptions(limit=_MOST_SUBSCRIPTIONS)
        return RpcReply(body={"subscriptions": [_body(found) for found in subscriptions]})

    async def on_get(self, request: JsonObject) -> RpcReply:
        """Return a subscription."""
        subscription_id = int(request["subscription_id"])
        found = await self._store.find_subscription(subscription_id)
        if found is None:
            return refused(404, f"Subscription {subscription_id} not registered")
        return RpcReply(body=_body(found))


def _body(subscription: Subscription) -> JsonObject:
    return {
        "subscription_id": str(subscription.subscription_id),
        "path": subscription.path,
        "catalog_id": str(subscription.catalog_id),
        "state": subscription.state,
        "last_event_type": subscription.last_event_type,
        "updated_at": subscription.updated_at.astimezone(UTC).isoformat(),
    }
