"""Rows of variables (table ``transient``)."""

from collections.abc import Sequence

import orjson
from noetl_contract.http.executions.variables import NewVar, VarEntry
from noetl_contract.json import encode
from noetl_pg.database import Row, Store


class VariableStore(Store):
    """One method per statement or transaction."""

    async def list_variables(self, execution_id: int, *, limit: int) -> list[VarEntry]:
        """Return variables by name; listing does not count as an access."""
        rows = await self._db.fetch("list_vars", execution_id, limit)
        return [_entry(row) for row in rows]

    async def read_variable(self, execution_id: int, *, name: str) -> VarEntry | None:
        """Return a variable after counting the access."""
        row = await self._db.fetchrow("read_var", execution_id, name)
        return _entry(row) if row else None

    async def set_variables(self, execution_id: int, variables: Sequence[NewVar]) -> None:
        """Write variables of different names."""
        await self._db.execute(
            "set_vars",
            execution_id,
            [item.var_name for item in variables],
            [item.var_type for item in variables],
            [encode(item.var_value).decode() for item in variables],
            [item.source_step for item in variables],
        )

    async def delete_variable(self, execution_id: int, *, name: str) -> bool:
        """Delete a variable; False when it does not exist."""
        found = await self._db.fetchval("delete_var", execution_id, name)
        return found is not None

    async def delete_variables(self, execution_id: int) -> int:
        """Delete all variables of an execution; return how many."""
        count: int = await self._db.fetchval("delete_vars", execution_id)
        return count


def _entry(row: Row) -> VarEntry:
    """Read a row; its value stays JSON text, so that no number is rounded."""
    return VarEntry(**{**row, "var_value": orjson.Fragment(row["var_value"])})
