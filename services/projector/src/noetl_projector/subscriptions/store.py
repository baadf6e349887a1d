"""Reads of subscriptions."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries

type Pool = asyncpg.Pool[asyncpg.Record]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A registered subscription."""

    subscription_id: int
    path: str
    catalog_id: int
    state: str
    last_event_type: str | None
    updated_at: datetime


class SubscriptionStore:
    """One method per statement or transaction; errors of the driver become ours."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = Queries.load("noetl_projector.subscriptions")

    async def list_subscriptions(self, *, limit: int) -> list[Subscription]:
        """Return subscriptions by id."""
        with translate():
            rows = await self._pool.fetch(self._sql["list_subscriptions"], limit)
        return [Subscription(**row) for row in rows]

    async def find_subscription(self, subscription_id: int) -> Subscription | None:
        """Return a subscription; None when the id is unknown."""
        with translate():
            row = await self._pool.fetchrow(self._sql["find_subscription"], subscription_id)
        return Subscription(**row) if row else None
