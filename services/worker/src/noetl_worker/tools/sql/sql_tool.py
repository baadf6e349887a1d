"""The frame of the database tools."""

import asyncio
from abc import ABC, abstractmethod
from time import perf_counter

from noetl_contract.json import JsonObject

from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.tool import ToolContext, ToolResult, over_time


class SqlTool(ABC):
    """A tool whose calls end in time."""

    kind: str

    def __init__(self, *, most_seconds: float) -> None:
        self._most_seconds = most_seconds

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run within the time that the configuration and the worker give."""
        started = perf_counter()
        fields = SqlFields(context.render(config), kind=self.kind)
        asked = fields.optional_unsigned("timeout_seconds")
        seconds = min(asked or self._most_seconds, self._most_seconds)
        data = None
        try:
            async with asyncio.timeout(seconds):
                data = await self.fetch(fields, context)
        except TimeoutError:
            pass
        duration_ms = int((perf_counter() - started) * 1000)
        if data is None:
            return over_time(seconds, duration_ms=duration_ms)
        return ToolResult(data=data, duration_ms=duration_ms)

    @abstractmethod
    async def fetch(self, fields: SqlFields, context: ToolContext) -> JsonObject:
        """Run the statements of the configuration and return the data of the result."""
