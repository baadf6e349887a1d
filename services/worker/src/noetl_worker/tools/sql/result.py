"""The shape of results of the database tools, and their bound."""

import re
from collections.abc import Sequence

from noetl_contract.json import Json, JsonObject

from noetl_worker import jsonb
from noetl_worker.interpreters.host.results import NotJson, plain
from noetl_worker.tools.errors import ToolError

_FIRST_ROWS = 10
_MOST_ROWS = 500
_PIECE_BYTES = 4 << 20
_COUNT = re.compile(r"(\d+)$")


def affected(tag: str | None) -> dict[str, int]:
    """Return the data of a statement without rows, from its command tag (``INSERT 0 3``)."""
    found = _COUNT.search(tag or "")
    return {"affected_rows": int(found.group(1)) if found else 0}


class RowBuffer:
    """The rows of a result, as they come in."""

    def __init__(self, columns: Sequence[str], *, as_objects: bool, most_bytes: int) -> None:
        self.columns = list(columns)
        self._as_objects = as_objects
        self._most_bytes = most_bytes
        self._bytes = 0
        self._rows: list[Json] = []

    @property
    def wanted(self) -> int:
        """Number of rows to take next: few until it is known how large they are."""
        if not self._rows:
            return _FIRST_ROWS
        each = max(self._bytes // len(self._rows), 1)
        return min(max(_PIECE_BYTES // each, 1), _MOST_ROWS, len(self._rows) * 10)

    @property
    def size(self) -> int:
        """Bytes of the rows so far."""
        return self._bytes

    def add(self, rows: Sequence[Sequence[Json]]) -> None:
        """Take rows of plain JSON values.

        Raises:
            ToolError: there are too many, or a value is a number that JSON doesn't have.
        """
        made: list[Json]
        if self._as_objects:
            made = [dict(zip(self.columns, row, strict=True)) for row in rows]
        else:
            made = [list(row) for row in rows]
        try:
            self._bytes += len(jsonb.encode(made))
        except NotJson as error:
            raise ToolError("Result error", self._named(made) or str(error)) from error
        if self._bytes > self._most_bytes:
            raise ToolError(
                "Database error",
                f"Query failed: the result has more than {self._most_bytes} bytes "
                "(NOETL_WORKER_SQL_RESULT_BYTES)",
            )
        self._rows.extend(made)

    def _named(self, rows: list[Json]) -> str | None:
        """Return the problem in rows, with its place in the result."""
        try:
            for number, row in enumerate(rows, start=len(self._rows)):
                plain(row, f"result.rows[{number}]")
        except NotJson as error:
            return str(error)
        return None

    def data(self) -> JsonObject:
        """Return the data of the result."""
        return {"columns": self.columns, "rows": self._rows, "row_count": len(self._rows)}
