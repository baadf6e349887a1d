"""A short-lived cache of credentials: a loop asks once, not once per iteration."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic
from weakref import WeakValueDictionary

from noetl_worker.credentials.credential import Credential

type Key = tuple[int, str]


class CredentialCache:
    """Cache of credentials found; concurrent look-ups of the same one share a request.

    The key holds the execution: a new execution sees what was stored before it began, and one
    execution's keychain is not another's.
    """

    def __init__(
        self, *, seconds: float, most: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._found: OrderedDict[Key, tuple[float, Credential]] = OrderedDict()
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def get(self, key: Key, fetch: Callable[[], Awaitable[Credential]]) -> Credential:
        """Return a credential, fetched if there is none young enough."""
        if not self._seconds:
            return await fetch()
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            kept = self._found.get(key)
            if kept is not None and self._clock() < kept[0]:
                return kept[1]
            self._found.pop(key, None)
            credential = await fetch()
            self._found[key] = (self._clock() + self._seconds, credential)
            self._drop_old()
            return credential

    def _drop_old(self) -> None:
        now = self._clock()
        # Oldest first, as all live equally long.
        while self._found:
            until, _ = next(iter(self._found.values()))
            if len(self._found) <= self._most and until > now:
                return
            self._found.popitem(last=False)
