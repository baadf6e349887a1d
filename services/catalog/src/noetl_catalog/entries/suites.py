"""Tests of playbooks: rows that the web UI writes and reads; it runs the tests itself."""

import re

from noetl_bus.rpc import Handlers, answers
from noetl_contract.access.principal import Principal
from noetl_contract.http.catalog.suites import SuiteBody, SuiteDeleted
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.suites import SUITE_DELETE, SUITE_GET, SUITE_PUT, SuiteName, SuitePut
from noetl_pg.database import Store

from noetl_catalog.entries.reach import change_refused, hides

_MOST = 10_000
_LONGEST = 500
_OTHERS = re.compile(r"[^A-Za-z0-9/_.-]")


class SuiteStore(Store):
    """One method per statement."""

    async def find(self, suite_id: str) -> SuiteBody | None:
        """Return a suite."""
        row = await self._db.fetchrow("find_suite", suite_id)
        return None if row is None else SuiteBody(file_path=_file_of(suite_id), **row)

    async def put(self, wanted: SuitePut, *, instead_of: str | None) -> SuiteBody | None:
        """Store a suite; None when there are too many, or the id was taken by another path.

        ``instead_of`` is the path of the playbook of the suite that is there, if one is.
        """
        who = wanted.principal
        row = await self._db.fetchrow(
            "put_suite",
            wanted.suite_id,
            wanted.playbook_path,
            wanted.tests,
            wanted.metadata,
            None if who is None else f"{who.kind}:{who.name}",
            instead_of,
            _MOST,
        )
        return None if row is None else SuiteBody(file_path=_file_of(wanted.suite_id), **row)

    async def delete(self, suite: SuiteBody) -> bool:
        """Delete a suite; return False if it is gone or belongs to another playbook now."""
        found = await self._db.fetchval("delete_suite", suite.suite_id, suite.playbook_path)
        return found is not None


class SuiteHandlers(Handlers):
    """Operations on suites; a caller reaches a suite through the suite's playbook."""

    def __init__(self, store: SuiteStore) -> None:
        self._store = store

    @answers(SUITE_GET)
    async def on_get(self, request: SuiteName) -> SuiteBody | Refusal:
        """Return a suite."""
        return await self._found(request.suite_id, request.principal)

    @answers(SUITE_PUT)
    async def on_put(self, request: SuitePut) -> SuiteBody | Refusal:
        """Store a suite, or replace the suite with the same id."""
        suite_id = _id_of(request.suite_id)
        if isinstance(suite_id, Refusal):
            return suite_id
        # The path of a suite without a playbook is its own name.
        wanted = request.model_copy(update={"suite_id": suite_id})
        known = await self._store.find(suite_id)
        for suite in (wanted, known):
            path = None if suite is None else suite.playbook_path or suite_id
            refused = None if path is None else change_refused(request.principal, path)
            if refused is not None:
                return refused
        kept = await self._store.put(
            wanted, instead_of=None if known is None else known.playbook_path
        )
        if kept is not None:
            return kept
        if await self._store.find(suite_id) is not None:
            return Refusal(409, f"Test suite '{suite_id}' has just been changed by another caller")
        return Refusal(422, f"There are {_MOST} test suites already")

    @answers(SUITE_DELETE)
    async def on_delete(self, request: SuiteName) -> SuiteDeleted | Refusal:
        """Delete a suite."""
        found = await self._found(request.suite_id, request.principal)
        if isinstance(found, Refusal):
            return found
        path = found.playbook_path or found.suite_id
        if (refused := change_refused(request.principal, path)) is not None:
            return refused
        if not await self._store.delete(found):
            return _unknown(found.suite_id)
        return SuiteDeleted(
            status="success", suite_id=found.suite_id, file_path=_file_of(found.suite_id)
        )

    async def _found(self, name: str, principal: Principal | None) -> SuiteBody | Refusal:
        """Return a suite, or a refusal if it is unknown or hidden from the caller."""
        suite_id = _id_of(name)
        if isinstance(suite_id, Refusal):
            return suite_id
        found = await self._store.find(suite_id)
        if found is None or hides(principal, found.playbook_path or suite_id):
            return _unknown(suite_id)
        return found


def _id_of(name: str) -> str | Refusal:
    """Return an id in its stored form, in which characters not allowed in file names are `_`."""
    spelled = _OTHERS.sub("_", name)
    suite_id = spelled.strip("/.")
    if len(suite_id) > _LONGEST or not all(suite_id.split("/")) or ".." in spelled.split("/"):
        return Refusal(400, f"Invalid test suite id '{name[:_LONGEST]}'")
    return suite_id


def _file_of(suite_id: str) -> str:
    return f"{suite_id}.json"


def _unknown(suite_id: str) -> Refusal:
    return Refusal(404, f"Test suite '{suite_id}' not found")
