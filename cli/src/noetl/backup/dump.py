"""Takes a backup while the system runs."""

import asyncio
import os
import shutil
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from noetl_common.errors import NoetlError
from noetl_common.pg.queries import Queries
from noetl_common.pg.single import hold_snapshot, open_single
from noetl_common.shards import DatabaseAddress

from noetl.backup.manifest import NAME, Dump, Manifest, digest, parts_of
from noetl.backup.tools import Tool, find_tool
from noetl.stack.errors import StackError
from noetl.stack.private_file import write_private
from noetl.stack.servers.databases import Databases

PROGRAM = "noetl-server backup"
SCHEMAS = ("noetl", "noetl_shown")
_SECONDS = 30.0


def back_up(databases: Databases, folder: Path, *, seconds: float) -> Manifest:
    """Dump all databases of an installation, as they are at one moment, into a new folder.

    Args:
        databases: addresses with a login that may read everything; not those of a pooler.
        folder: must not exist yet; is there only when it is complete.
        seconds: longest time of one dump.

    Raises:
        StackError: a program is missing, too old or fails; a database doesn't answer or has no
            schema; the folder exists or can't be written.
    """
    if folder.exists():
        raise StackError(f"{folder} exists already; name a folder that doesn't")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        manifest = asyncio.run(_dump(databases, unfinished, seconds=seconds))
        write_private(unfinished / NAME, manifest.model_dump_json(indent=2) + "\n", durable=True)
        unfinished.rename(folder)
    except OSError as error:
        raise StackError(f"can't write {unfinished}: {error.strerror}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


async def _dump(databases: Databases, folder: Path, *, seconds: float) -> Manifest:
    parts = parts_of(databases)
    known = {name: await _look(name, address) for name, address in parts.items()}
    tool = find_tool("pg_dump", at_least=max(server for server, _ in known.values()))
    dumps: dict[str, Dump] = {}
    async with AsyncExitStack() as held:
        # All views before the first dump: what databases say about each other is of one moment,
        # as nearly as one connection after the other can be asked.
        views: dict[str, tuple[str, datetime]] = {}
        for name, address in parts.items():
            try:
                view = await held.enter_async_context(
                    hold_snapshot(address.dsn, name=PROGRAM, seconds=_SECONDS)
                )
            except NoetlError as error:
                raise StackError(f"{name} ({address!r}): {error.message}") from error
            views[name] = view, datetime.now(UTC)
        for name, address in parts.items():
            view, taken_at = views[name]
            file = folder / f"{name}.dump"
            await asyncio.to_thread(
                _write, tool, address, file=file, snapshot=view, seconds=seconds
            )
            dumps[name] = Dump(
                file=file.name,
                database=address.database,
                migration=known[name][1],
                size=file.stat().st_size,
                sha256=digest(file),
                taken_at=taken_at,
            )
    return Manifest(
        release=version("noetl-server"),
        pg_dump=tool.major,
        shards=len(databases.shards),
        dumps=dumps,
    )


async def _look(name: str, address: DatabaseAddress) -> tuple[int, str]:
    """Return the major version of a server, and the newest migration of a database."""
    queries = Queries.load(__package__)
    try:
        async with open_single(address.dsn, queries, name=PROGRAM, seconds=_SECONDS) as database:
            major: int = await database.fetchval("read_server_version")
            migration: str = await database.fetchval("read_schema") or ""
    except NoetlError as error:
        raise StackError(f"{name} ({address!r}): {error.message}") from error
    return major, migration


def _write(
    tool: Tool, address: DatabaseAddress, *, file: Path, snapshot: str, seconds: float
) -> None:
    tool.run(
        [
            "--format=custom",
            "--no-password",
            f"--snapshot={snapshot}",
            *(f"--schema={schema}" for schema in SCHEMAS),
            f"--file={file}",
        ],
        address=address,
        seconds=seconds,
    )
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
