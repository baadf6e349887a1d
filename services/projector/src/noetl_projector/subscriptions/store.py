"""Rows of subscriptions, which the orchestrator writes."""

from noetl_common.pg.database import Database
from noetl_contract.http.catalog.subscriptions import SubscriptionBody


class SubscriptionStore:
    """One method per statement or transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__)

    async def list_subscriptions(self, *, limit: int) -> list[SubscriptionBody]:
        """Return subscriptions by id."""
        rows = await self._db.fetch("list_subscriptions", limit)
        return [SubscriptionBody(**row) for row in rows]

    async def find_subscription(self, subscription_id: int) -> SubscriptionBody | None:
        """Return a subscription; None when the id is unknown."""
        row = await self._db.fetchrow("find_subscription", subscription_id)
        return SubscriptionBody(**row) if row else None
