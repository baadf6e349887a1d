"""Parsed playbooks by catalog id; a version never changes, so it is kept while there is room."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable

from noetl_common.logging import get_logger
from noetl_engine.commands.rendering import compile_playbook
from noetl_engine.playbook import Playbook, PlaybookError

from noetl_orchestrator.catalog.lookups import Catalog, PlaybookNotUsable
from noetl_orchestrator.settings import Settings

_log = get_logger()
# Those of so many tags are compiled within some 50 ms.
_MANY_TEMPLATES = 64


class Playbooks:
    """Fetch, parse and keep playbooks; equal requests share one fetch.

    Args:
        catalog: has the texts.
        parse: text to model; raises PlaybookError.
    """

    def __init__(
        self, catalog: Catalog, parse: Callable[[str], Playbook], settings: Settings
    ) -> None:
        self._catalog = catalog
        self._parse = parse
        self._max_kept = settings.cache_playbooks
        self._thread_from_bytes = settings.parse_in_thread_bytes
        self._kept: OrderedDict[int, Playbook | PlaybookNotUsable] = OrderedDict()
        self._under_way: dict[int, asyncio.Task[Playbook | PlaybookNotUsable]] = {}

    def get(self, catalog_id: int) -> Playbook | PlaybookNotUsable | None:
        """Return a playbook in memory, or the reason why it can't be used."""
        found = self._kept.get(catalog_id)
        if found is not None:
            self._kept.move_to_end(catalog_id)
        return found

    async def get_many(
        self, catalog_ids: Iterable[int], *, timeout_seconds: float
    ) -> dict[int, Playbook | PlaybookNotUsable]:
        """Return the playbooks in memory, and those fetched before the timeout.

        A longer fetch continues, and its playbook is in memory the next time.
        """
        found: dict[int, Playbook | PlaybookNotUsable] = {}
        missing: dict[int, asyncio.Task[Playbook | PlaybookNotUsable]] = {}
        for catalog_id in catalog_ids:
            kept = self.get(catalog_id)
            if kept is not None:
                found[catalog_id] = kept
            else:
                missing[catalog_id] = self._load(catalog_id)
        if missing:
            await asyncio.wait(missing.values(), timeout=timeout_seconds)
            for catalog_id, task in missing.items():
                if task.done() and not task.cancelled() and task.exception() is None:
                    found[catalog_id] = task.result()
        return found

    def close(self) -> None:
        """Cancel the fetches that are under way."""
        for task in self._under_way.values():
            task.cancel()

    def _load(self, catalog_id: int) -> asyncio.Task[Playbook | PlaybookNotUsable]:
        task = self._under_way.get(catalog_id)
        if task is None:
            # Not in a task group: it outlives the turn, and `close` ends it.
            task = asyncio.create_task(self._fetch_and_parse(catalog_id))
            self._under_way[catalog_id] = task
            task.add_done_callback(lambda _: self._forget(catalog_id))
        return task

    def _forget(self, catalog_id: int) -> None:
        task = self._under_way.pop(catalog_id)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("playbook_not_fetched", catalog_id=catalog_id, error=str(task.exception()))

    async def _fetch_and_parse(self, catalog_id: int) -> Playbook | PlaybookNotUsable:
        try:
            text = await self._catalog.content(catalog_id)
        except PlaybookNotUsable as error:
            # Not kept: a restored catalog may have it again.
            return error
        playbook: Playbook | PlaybookNotUsable
        try:
            # A long text would hold up the loop, and so would its templates later.
            if len(text) > self._thread_from_bytes or _has_many_templates(text):
                playbook = await asyncio.to_thread(self._parse_and_compile, text)
            else:
                playbook = self._parse(text)
        except PlaybookError as error:
            hint = error.problems[0].hint
            playbook = PlaybookNotUsable(reason=str(error), status=error.status, hint=hint)
        self._kept[catalog_id] = playbook
        while len(self._kept) > self._max_kept:
            self._kept.popitem(last=False)
        return playbook

    def _parse_and_compile(self, text: str) -> Playbook:
        playbook = self._parse(text)
        compile_playbook(playbook)
        return playbook


def _has_many_templates(text: str) -> bool:
    return text.count("{{") + text.count("{%") > _MANY_TEMPLATES
