"""The secret values of an execution's workload, cached."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from noetl_contract.http.secret_values import secret_values
from noetl_pg.database import Database

if TYPE_CHECKING:
    from noetl_contract.json import Json

_GENERATIONS = 8
_MOST = 10_000


class KnownSecrets:
    """Secrets to mask in answers, cached: they come from first events, which never change."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__, "known_secrets.sql")
        self._known: OrderedDict[int, tuple[str, ...]] = OrderedDict()

    async def of(self, execution_id: int) -> tuple[str, ...]:
        """Return the texts that no answer about an execution may hold."""
        return (await self.of_many((execution_id,)))[execution_id]

    async def of_many(self, execution_ids: Iterable[int]) -> Mapping[int, tuple[str, ...]]:
        """Return the texts that no answer may hold, for several executions."""
        found = {number: self._known.get(number) for number in execution_ids}
        unknown = [number for number, secrets in found.items() if secrets is None]
        if unknown:
            rows = await self._db.fetch("read_origins", unknown, _GENERATIONS)
            workloads: dict[int, list[Json]] = {}
            for row in rows:
                workloads.setdefault(row["asked"], []).append(row["workload"])
            for number, origins in workloads.items():
                found[number] = self._known[number] = secret_values(origins)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return {number: secrets or () for number, secrets in found.items()}
