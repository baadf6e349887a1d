"""Rows of subscriptions, which the orchestrator writes."""

from noetl_contract.http.catalog.subscriptions import SubscriptionBody
from noetl_pg.database import Row, Store


class SubscriptionStore(Store):
    """One method per statement or transaction."""

    async def list_subscriptions(self, *, limit: int) -> list[SubscriptionBody]:
        """Return subscriptions by id."""
        rows = await self._db.fetch("list_subscriptions", limit)
        return [_body(row) for row in rows]

    async def find_subscription(self, subscription_id: int) -> SubscriptionBody | None:
        """Return a subscription; None when the id is unknown."""
        row = await self._db.fetchrow("find_subscription", subscription_id)
        return _body(row) if row else None


def _body(row: Row) -> SubscriptionBody:
    """Read a row; the driver's times are UTC, and these are shown with their offset."""
    return SubscriptionBody(**{**row, "updated_at": row["updated_at"].isoformat()})
