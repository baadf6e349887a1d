"""The subscriptions that listen at the gateway, by the name at the end of their path."""

import asyncio
from collections.abc import Mapping, Sequence

from noetl_common.bus.rpc import Handler, handle
from noetl_contract.json import Json
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import (
    SUBSCRIPTION_LISTENER,
    ListenerRequest,
    ListenerSubscription,
)
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.yaml import compose, to_json

from noetl_catalog.entries.store import EntryStore, SubscriptionDocument

_MOST_SUBSCRIPTIONS = 2000


class ListenerHandlers:
    """Push subscriptions as the edge looks them up."""

    def __init__(self, store: EntryStore) -> None:
        self._store = store

    def handlers(self) -> list[Handler]:
        """Return the handlers."""
        return [handle(SUBSCRIPTION_LISTENER, self.on_listener)]

    async def on_listener(self, request: ListenerRequest) -> ListenerSubscription | Refusal:
        """Return the subscription whose gateway path ends in a name."""
        listener = request.listener
        documents = await self._store.list_newest_subscriptions(limit=_MOST_SUBSCRIPTIONS)
        found = await asyncio.to_thread(_find, documents, listener)
        if found is None:
            return Refusal(404, f"No push subscription for ingress listener '{listener[:200]}'")
        return found


def _find(documents: Sequence[SubscriptionDocument], listener: str) -> ListenerSubscription | None:
    for document in documents:
        spec = _spec(document.content)
        path = _map(spec.get("ingress")).get("gateway_path")
        if isinstance(path, str) and path.rstrip("/").rpartition("/")[2] == listener:
            return ListenerSubscription(
                path=document.path, catalog_id=document.catalog_id, spec=spec
            )
    return None


def _spec(content: str | None) -> Mapping[str, Json]:
    """Return the `spec` of a document; an unreadable document listens nowhere."""
    try:
        document = to_json(compose(content or ""))
    except DecodeError:
        return {}
    return _map(_map(document).get("spec"))


def _map(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
