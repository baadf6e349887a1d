"""`/api/subscriptions*`."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from noetl_contract.http.scalars import IdText

__all__ = ["SubscriptionBody", "SubscriptionList", "SubscriptionRequest"]

_EXAMPLE: Any = {
    "subscription_id": "325077250000000001",
    "path": "subscriptions/orders",
    "catalog_id": "321000000000000009",
    "state": "REGISTERED",
    "last_event_type": "subscription.registered",
    "updated_at": "2026-06-15T09:20:00.123456+00:00",
}


class SubscriptionRequest(BaseModel):
    """The catalog path of a document of kind subscription."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={"examples": [{"path": "subscriptions/orders"}]},
    )

    path: str


class SubscriptionBody(BaseModel):
    """A subscription and its state."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", json_schema_extra={"examples": [_EXAMPLE]}
    )

    subscription_id: IdText
    path: str
    catalog_id: IdText
    state: str
    last_event_type: str
    updated_at: str | None = None


class SubscriptionList(BaseModel):
    """All subscriptions."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={"examples": [{"subscriptions": [_EXAMPLE]}]},
    )

    subscriptions: list[SubscriptionBody]
