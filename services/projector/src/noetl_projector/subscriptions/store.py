"""Rows of subscriptions, which the orchestrator writes."""

from dataclasses import dataclass
from datetime import datetime

from noetl_common.pg.database import Database


@dataclass(frozen=True, slots=True)
class Subscription:
    """A registered subscription."""

    subscription_id: int
    path: str
    catalog_id: int
    state: str
    last_event_type: str
    updated_at: datetime


class SubscriptionStore:
    """One method per statement or transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__)

    async def list_subscriptions(self, *, limit: int) -> list[Subscription]:
        """Return subscriptions by id."""
        rows = await self._db.fetch("list_subscriptions", limit)
        return [Subscription(**row) for row in rows]

    async def find_subscription(self, subscription_id: int) -> Subscription | None:
        """Return a subscription; None when the id is unknown."""
        row = await self._db.fetchrow("find_subscription", subscription_id)
        return Subscription(**row) if row else None
