"""Rows of variables."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_contract.http.executions.variables import NewVar
from noetl_contract.json import encode

type Pool = asyncpg.Pool[asyncpg.Record]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable; its value is JSON text, so that no number is rounded on its way."""

    var_name: str
    var_type: str
    var_value: str
    source_step: str | None
    created_at: datetime
    accessed_at: datetime
    access_count: int


class VariableStore:
    """One method per statement or transaction; errors of the driver become ours."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = Queries.load("noetl_projector.variables")

    async def list_variables(self, execution_id: int, *, limit: int) -> list[Variable]:
        """Return variables by name; listing does not count as an access."""
        with translate():
            rows = await self._pool.fetch(self._sql["list_vars"], execution_id, limit)
        return [Variable(**row) for row in rows]

    async def read_variable(self, execution_id: int, *, name: str) -> Variable | None:
        """Return a variable after counting the access."""
        with translate():
            row = await self._pool.fetchrow(self._sql["read_var"], execution_id, name)
        return Variable(**row) if row else None

    async def set_variables(self, execution_id: int, variables: Sequence[NewVar]) -> None:
        """Write variables of different names."""
        with translate():
            await self._pool.execute(
                self._sql["set_vars"],
                execution_id,
                [item.var_name for item in variables],
                [item.var_type for item in variables],
                [encode(item.var_value).decode() for item in variables],
                [item.source_step for item in variables],
            )

    async def delete_variable(self, execution_id: int, *, name: str) -> bool:
        """Delete a variable; False when it does not exist."""
        with translate():
            found = await self._pool.fetchval(self._sql["delete_var"], execution_id, name)
        return found is not None

    async def delete_variables(self, execution_id: int) -> int:
        """Delete all variables of an execution; return how many."""
        with translate():
            count: int = await self._pool.fetchval(self._sql["delete_vars"], execution_id)
        return count
