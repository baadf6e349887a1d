"""Times at which keys were last used, written in batches."""

from collections.abc import Callable
from datetime import UTC, datetime

from noetl_service.service import every

from noetl_catalog.access.store import AccessStore

_MOST = 100_000


class KeyUses:
    """Key uses since the last write; they are lost when the process dies, which is harmless."""

    def __init__(self, store: AccessStore) -> None:
        self._store = store
        self._used: dict[str, datetime] = {}

    def note(self, key_id: str) -> None:
        """Note that a key was used now."""
        if key_id in self._used or len(self._used) < _MOST:
            self._used[key_id] = datetime.now(UTC)

    async def write(self) -> None:
        """Write the noted uses; after a failure they are written the next time."""
        used = dict(self._used)
        if not used:
            return
        await self._store.touch_keys(used)
        for key_id, at in used.items():
            if self._used.get(key_id) == at:
                del self._used[key_id]

    async def run(self, seconds: float, *, beat: Callable[[], None] = lambda: None) -> None:
        """Write in intervals until cancelled."""
        await every(seconds, self.write, warning="key_uses_not_written", beat=beat)
