"""`/api/subscriptions*`."""

from typing import Any

from noetl_contract.http.scalars import IdText
from noetl_contract.model import Model, example

_EXAMPLE: Any = {
    "subscription_id": "325077250000000001",
    "path": "subscriptions/orders",
    "catalog_id": "321000000000000009",
    "state": "REGISTERED",
    "last_event_type": "subscription.registered",
    "updated_at": "2026-06-15T09:20:00.123456+00:00",
}


class SubscriptionRequest(Model):
    """The catalog path of a document of kind subscription."""

    model_config = example(path="subscriptions/orders")

    path: str


class SubscriptionBody(Model):
    """A subscription and its state."""

    model_config = example(**_EXAMPLE)

    subscription_id: IdText
    path: str
    catalog_id: IdText
    state: str
    last_event_type: str
    updated_at: str | None = None


class SubscriptionList(Model):
    """All subscriptions."""

    model_config = example(subscriptions=[_EXAMPLE])

    subscriptions: list[SubscriptionBody]
