"""Puts a backup into empty databases, and has the messages sent again that its moment needs."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from noetl_common.errors import NoetlError
from noetl_common.pg.administer import administer
from noetl_common.pg.database import Statements
from noetl_common.pg.queries import Queries
from noetl_common.pg.single import is_there, open_single
from noetl_common.shards import DatabaseAddress

from noetl.backup.manifest import Dump, Manifest, parts_of, read_manifest
from noetl.backup.tools import Tool, find_tool
from noetl.stack.errors import StackError
from noetl.stack.servers import migrations
from noetl.stack.servers.databases import Databases
from noetl.stack.servers.roles import CONSOLE, ROLES

PROGRAM = "noetl-server restore"
_SECONDS = 600.0
_CONNECT_SECONDS = 30.0


@dataclass
class Restored:
    """What is there now: executions that go on, and messages to executions that go out again."""

    running: int = 0
    messages: int = 0


def restore(
    databases: Databases, folder: Path, *, replace: bool = False, seconds: float
) -> Restored:
    """Restore the databases of an installation from a backup; no service may run.

    A database that doesn't exist is created. Each is restored in one transaction.

    Args:
        databases: where to; as many as in the backup.
        folder: the backup.
        replace: whether to drop what is there.
        seconds: longest time of one database.

    Raises:
        StackError: the backup is damaged, of a newer release or of another number of databases; a
            database is in use or not empty; a program is missing, too old or fails.
    """
    manifest = read_manifest(folder)
    parts = parts_of(databases)
    _compare(manifest, parts)
    for name, address in parts.items():
        with _told(name, address):
            is_made = asyncio.run(is_there(address.dsn, seconds=_CONNECT_SECONDS))
        if not is_made:
            migrations.create(address.dsn)
    majors = [asyncio.run(_look(name, address, replace=replace)) for name, address in parts.items()]
    tool = find_tool("pg_restore", at_least=max(*majors, manifest.pg_dump))
    for dump in manifest.dumps.values():
        # Legible from end to end, before anything is dropped.
        tool.run(["--file=/dev/null", str(folder / dump.file)], seconds=seconds)
    for name, address in parts.items():
        _fill(tool, address, folder / manifest.dumps[name].file, seconds=seconds)
    return send_again(databases)


def send_again(databases: Databases) -> Restored:
    """Have messages to executions sent again, after databases went back to an earlier moment.

    Safe to repeat; no service may run.

    Raises:
        StackError: a database is in use, or doesn't answer.
    """
    done = Restored()
    for name, address in parts_of(databases).items():
        asyncio.run(_send_again(name, address, done))
    return done


def _compare(manifest: Manifest, parts: Mapping[str, DatabaseAddress]) -> None:
    if manifest.dumps.keys() != parts.keys():
        held, wanted = (", ".join(sorted(names)) for names in (manifest.dumps, parts))
        raise StackError(
            f"the backup holds {held}, this installation has {wanted}: executions can't be divided "
            "anew, so name as many databases as the backup has (NOETL_SHARDS, NOETL_CLUSTER_DSN)"
        )
    newest = max(path.name.partition("_")[0] for path in migrations.folder().glob("*.sql"))
    ahead = _newest(manifest.dumps)
    if ahead > newest:
        raise StackError(
            f"the backup is of release {manifest.release} with migration {ahead}, this release "
            f"ends at {newest}: restore it with its own release or a newer one"
        )


def _newest(dumps: Mapping[str, Dump]) -> str:
    return max(dump.migration for dump in dumps.values())


async def _look(name: str, address: DatabaseAddress, *, replace: bool) -> int:
    """Return the major version of the server of a database that may be filled."""
    with _told(name, address):
        async with _open(address) as database:
            await _refuse_sessions(database, name, address)
            if not replace and await database.fetchval("has_schema"):
                raise StackError(
                    f"{name} ({address!r}) has a schema noetl already: restore into an empty "
                    "database, or have it dropped with --replace"
                )
            major: int = await database.fetchval("read_server_version")
    return major


def _fill(tool: Tool, address: DatabaseAddress, file: Path, *, seconds: float) -> None:
    with _told("", address):
        asyncio.run(_prepare(address))
    tool.run(
        [
            "--no-password",
            "--single-transaction",
            "--exit-on-error",
            # The login may be another one than before; who must own log and commands gets them.
            "--no-owner",
            f"--dbname={address.database}",
            str(file),
        ],
        address=address,
        seconds=seconds,
    )
    with _told("", address):
        asyncio.run(administer(address.dsn))


async def _prepare(address: DatabaseAddress) -> None:
    """Drop what is there, and make the roles that the dump names, without a login."""
    async with _open(address) as database:
        await database.execute("drop_shown")
        await database.execute("drop_schema")
        missing = await database.fetch("find_missing_roles", [*ROLES.values(), CONSOLE])
    roles = [(f"CREATE ROLE {row['name']}", f"ALTER ROLE {row['name']} NOLOGIN") for row in missing]
    await administer(address.dsn, roles=roles, with_grants=False)


async def _send_again(name: str, address: DatabaseAddress, done: Restored) -> None:
    with _told(name, address):
        async with _open(address) as database:
            await _refuse_sessions(database, name, address)
            done.running += await database.fetchval("count_running")
            done.messages += int((await database.execute("send_messages_again")).split()[-1])


async def _refuse_sessions(database: Statements, name: str, address: DatabaseAddress) -> None:
    sessions = await database.fetch("list_sessions")
    if sessions:
        who = ", ".join(f"{row['number']} of {row['program']}" for row in sessions)
        raise StackError(
            f"{name} ({address!r}) is in use ({who}): stop every service before a restore"
        )


def _open(address: DatabaseAddress) -> AbstractAsyncContextManager[Statements]:
    queries = Queries.load(__package__)
    return open_single(address.dsn, queries, name=PROGRAM, seconds=_SECONDS)


@contextmanager
def _told(name: str, address: DatabaseAddress) -> Iterator[None]:
    """Turn an error of a database into one that says which."""
    try:
        yield
    except NoetlError as error:
        raise StackError(f"{name or address.database} ({address!r}): {error.message}") from error
