"""Takes everything over that a source has."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from noetl_common.settings import PlaybookSettings
from noetl_common.shards import DatabaseAddress
from noetl_pg.single import open_single
from noetl_pg.sql.queries import Queries

from noetl_migrate.moving import database, server
from noetl_migrate.moving.keys import Keys
from noetl_migrate.moving.report import Report, Section
from noetl_migrate.moving.rows import Source
from noetl_migrate.moving.target import Target

_SECONDS = 60.0


def source_of(address: str, *, token: str, keys: Keys) -> AbstractAsyncContextManager[Source]:
    """Return the door that an address names: a database's, or a server's."""
    if address.startswith(("http://", "https://")):
        return server.opened(address, token)
    return database.opened(address, keys)


async def bring_over(
    source: AbstractAsyncContextManager[Source],
    into: DatabaseAddress,
    keys: Keys,
    *,
    is_trial: bool,
    say: Callable[[str], None],
) -> Report:
    """Bring documents, credentials, keychains and workers, in this order.

    Args:
        source: the existing server's door.
        into: the database of the cluster here.
        keys: with which this installation encrypts.
        is_trial: report what would be done, and write nothing.
        say: reports the progress.

    Raises:
        StackError: the existing server gives no answer.
        NoetlError: a database can't be reached or used; what came until then has come.
    """
    queries = Queries.load("noetl_migrate.moving")
    kinds = PlaybookSettings().more_kinds()
    async with (
        source as old,
        open_single(into.dsn, queries, name="noetl-server import", seconds=_SECONDS) as ours,
    ):
        target = Target(ours, keys, is_trial=is_trial, more_kinds=kinds)
        report = Report(old.name, is_trial)
        await _take(old.entries(), target.take_entry, report.catalog)
        say(f"catalog: {report.catalog.came} new, {report.catalog.present} were there")
        await _take(old.credentials(), target.take_credential, report.credentials)
        await _take(old.keychain(), target.take_keychain_entry, report.keychain)
        await _take(old.workers(), target.take_worker, report.workers)
    return report


async def _take[Thing](
    things: AsyncIterator[Thing],
    take: Callable[[Thing, Section], Awaitable[None]],
    section: Section,
) -> None:
    async for one in things:
        await take(one, section)
