"""Parsing of YAML documents in threads."""

import asyncio
from collections.abc import Callable

from noetl_contract.rpc import Refusal

from noetl_catalog.entries.settings import EntrySettings

_MOST_AT_ONCE = 2


class Parsers:
    """Calls functions that parse a document, with a bound of concurrent calls and a timeout.

    A large document takes seconds, in which the event loop shares the interpreter with the parser.
    """

    def __init__(self, settings: EntrySettings) -> None:
        self._timeout_seconds = settings.catalog_parse_timeout_seconds
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)

    async def run[**Arguments, Result](
        self,
        function: Callable[Arguments, Result],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Result | Refusal:
        """Return the result, or a refusal after the timeout."""
        try:
            async with self._slots, asyncio.timeout(self._timeout_seconds):
                return await asyncio.to_thread(function, *arguments, **options)
        except TimeoutError:
            return Refusal(503, "The document could not be read in time")
