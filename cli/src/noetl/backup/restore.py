"""Puts a backup into empty databases, and has the messages sent again that its moment needs."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from noetl_common.shards import DatabaseAddress
from noetl_pg.database import Statements
from noetl_pg.rights import administer
from noetl_pg.single import is_there

from noetl.backup import swap
from noetl.backup.manifest import Dump, Manifest, compare_files, read_manifest
from noetl.backup.parts import Parts, open_part, parts_of, told
from noetl.backup.tools import Tool, find_tool
from noetl.stack.errors import StackError
from noetl.stack.servers import migrations
from noetl.stack.servers.databases import Databases
from noetl.stack.servers.roles import CONSOLE, ROLES
from noetl.stack.servers.sessions import sessions_left

PROGRAM = "noetl-server restore"
_SECONDS = 600.0
_CONNECT_SECONDS = 30.0


@dataclass
class Restored:
    """Result of a restore: executions that go on, and messages to executions that go out again."""

    running: int = 0
    messages: int = 0


def restore(
    databases: Databases, folder: Path, *, replace: bool = False, seconds: float
) -> Restored:
    """Restore the databases of an installation from a backup; no service may run.

    A database that doesn't exist is created. All are restored or none: what they hold is kept
    until the backup is in its place, and put back when it fails or is stopped. A kill leaves them
    closed for services until the next call, or that of `undo`.

    Args:
        databases: where to; as many as in the backup.
        folder: the backup.
        replace: whether to drop what is there.
        seconds: longest time of one database.

    Raises:
        StackError: the backup is damaged, of a newer release or of another number of databases; a
            database is in use or not empty; a program is missing, too old or fails.
    """
    return asyncio.run(_restore(databases, folder, replace=replace, seconds=seconds))


def undo(databases: Databases) -> str:
    """Settle the rest of an interrupted restore, and return what was done; no service may run.

    Raises:
        StackError: a database is in use, doesn't answer, or nothing was interrupted.
    """
    return asyncio.run(_undo(parts_of(databases)))


def send_again(databases: Databases) -> Restored:
    """Have messages to executions sent again, after databases went back to an earlier moment.

    Safe to repeat; no service may run.

    Raises:
        StackError: a database is in use or closed, or doesn't answer.
    """
    return asyncio.run(_send_all_again(parts_of(databases)))


async def _restore(
    databases: Databases, folder: Path, *, replace: bool, seconds: float
) -> Restored:
    manifest = read_manifest(folder)
    parts = parts_of(databases)
    _compare(manifest, parts)
    await asyncio.to_thread(compare_files, folder, manifest)
    for name, address in parts.items():
        with told(name, address):
            is_made = await is_there(address.dsn, name=PROGRAM, seconds=_CONNECT_SECONDS)
        if not is_made:
            migrations.create(address.dsn)
    majors = [await _server_of(name, address) for name, address in parts.items()]
    tool = find_tool("pg_restore", at_least=max(*majors, manifest.pg_dump))
    for dump in manifest.dumps.values():
        # Legible from end to end, before anything is put aside.
        await tool.run(["--file=/dev/null", str(folder / dump.file)], seconds=seconds)
    await swap.settle(parts, name=PROGRAM)
    if not replace:
        for name, address in parts.items():
            await _refuse_filled(name, address)
    try:
        await swap.begin(parts, source=str(folder), name=PROGRAM)
        for name, address in parts.items():
            await _fill(tool, name, address, folder / manifest.dumps[name].file, seconds=seconds)
        done = await _send_all_again(parts, is_open=False)
        await swap.end(parts, name=PROGRAM)
    except (StackError, asyncio.CancelledError) as error:
        # A second signal ends this too, and the next call does it.
        what = await swap.settle(parts, name=PROGRAM) or "nothing was changed"
        said = "stopped" if isinstance(error, asyncio.CancelledError) else error
        raise StackError(f"{said}; {what}") from error
    return done


async def _undo(parts: Parts) -> str:
    for name, address in parts.items():
        await _server_of(name, address)
    done = await swap.settle(parts, name=PROGRAM)
    if done is None:
        raise StackError("no restore was interrupted here: nothing is to be undone")
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


async def _server_of(name: str, address: DatabaseAddress) -> int:
    """Return the major version of a database's server; refuse if others are connected."""
    with told(name, address):
        async with open_part(address, name=PROGRAM, seconds=_SECONDS) as database:
            await _refuse_sessions(database, name, address)
            major: int = await database.fetchval("read_server_version")
    return major


async def _refuse_filled(name: str, address: DatabaseAddress) -> None:
    with told(name, address):
        async with open_part(address, name=PROGRAM, seconds=_SECONDS) as database:
            if await database.fetchval("has_schema"):
                raise StackError(
                    f"{name} ({address!r}) has a schema noetl already: restore into an empty "
                    "database, or have it dropped with --replace"
                )


async def _fill(
    tool: Tool, name: str, address: DatabaseAddress, file: Path, *, seconds: float
) -> None:
    with told(name, address):
        await _make_roles(address)
    await tool.run(
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
        name=PROGRAM,
        seconds=seconds,
    )
    with told(name, address):
        await administer(address.dsn, name=PROGRAM, is_closed_by_caller=True)


async def _make_roles(address: DatabaseAddress) -> None:
    """Make the roles that the dump names, without a login."""
    async with open_part(address, name=PROGRAM, seconds=_SECONDS) as database:
        missing = await database.fetch("find_missing_roles", [*ROLES.values(), CONSOLE])
    roles = [(f"CREATE ROLE {row['name']}", f"ALTER ROLE {row['name']} NOLOGIN") for row in missing]
    await administer(
        address.dsn, name=PROGRAM, roles=roles, with_grants=False, is_closed_by_caller=True
    )


async def _send_all_again(parts: Parts, *, is_open: bool = True) -> Restored:
    done = Restored()
    for name, address in parts.items():
        with told(name, address):
            async with open_part(address, name=PROGRAM, seconds=_SECONDS) as database:
                await _refuse_sessions(database, name, address)
                if is_open and (reason := await database.fetchval("read_closed")) is not None:
                    raise StackError(f"{name} ({address!r}) is closed: {reason}")
                done.running += await database.fetchval("count_running")
                done.messages += int((await database.execute("send_messages_again")).split()[-1])
    return done


async def _refuse_sessions(database: Statements, name: str, address: DatabaseAddress) -> None:
    who = await sessions_left(database)
    if who is not None:
        raise StackError(
            f"{name} ({address!r}) is in use ({who}): stop every service before a restore"
        )
