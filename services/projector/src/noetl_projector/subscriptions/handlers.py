"""Reads of subscriptions, one function per operation."""

from noetl_bus.rpc import Handlers, answers
from noetl_contract.http.catalog.subscriptions import SubscriptionBody, SubscriptionList
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.projector import SUBSCRIPTION_GET, SUBSCRIPTION_LIST, SubscriptionName

from noetl_projector.subscriptions.store import SubscriptionStore

_MOST_SUBSCRIPTIONS = 10_000


class SubscriptionHandlers(Handlers):
    """One method per operation."""

    def __init__(self, store: SubscriptionStore) -> None:
        self._store = store

    @answers(SUBSCRIPTION_LIST)
    async def on_list(self, _request: Nothing) -> SubscriptionList:
        """List all subscriptions of the shard by id."""
        found = await self._store.list_subscriptions(limit=_MOST_SUBSCRIPTIONS)
        return SubscriptionList(subscriptions=found)

    @answers(SUBSCRIPTION_GET)
    async def on_get(self, request: SubscriptionName) -> SubscriptionBody | Refusal:
        """Return a subscription."""
        found = await self._store.find_subscription(request.subscription_id)
        text = f"Subscription {request.subscription_id} not registered"
        return found or Refusal(404, text)
