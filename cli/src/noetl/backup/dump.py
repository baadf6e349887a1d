"""Takes a backup while the system runs."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from noetl_common.shards import DatabaseAddress
from noetl_pg.single import hold_snapshot

from noetl.backup.manifest import NAME, Dump, Manifest, digest
from noetl.backup.parts import open_part, parts_of, told
from noetl.backup.tools import Tool, find_tool
from noetl.stack.errors import StackError
from noetl.stack.private_file import write_private
from noetl.stack.servers.databases import Databases

PROGRAM = "noetl-server backup"
SCHEMAS = ("noetl", "noetl_shown")
_SECONDS = 30.0


class _View(NamedTuple):
    """A database as it was at a moment, for as long as it isn't released."""

    snapshot: str
    taken_at: datetime
    release: AsyncExitStack


def back_up(databases: Databases, folder: Path, *, seconds: float) -> Manifest:
    """Dump all databases of an installation, as they are at one moment, into a new folder.

    Args:
        databases: addresses with a login that may read everything; not those of a pooler.
        folder: must not exist yet; is there only when it is complete.
        seconds: longest time of one dump.

    Raises:
        StackError: a program is missing, too old or fails; a database doesn't answer, is closed or
            has no schema; the folder exists, is being written by another backup, or can't be.
    """
    with _taken(folder) as unfinished:
        manifest = asyncio.run(_dump(databases, unfinished, seconds=seconds))
        write_private(unfinished / NAME, manifest.model_dump_json(indent=2) + "\n", durable=True)
    return manifest


@contextmanager
def _taken(folder: Path) -> Iterator[Path]:
    """Yield the folder under the name of an unfinished one, which only one backup can have."""
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir(mode=0o700)
    except FileExistsError:
        raise StackError(
            f"{unfinished} exists: another backup is writing it, or one was killed; remove it "
            "when none runs"
        ) from None
    except OSError as error:
        raise StackError(f"can't write {unfinished}: {error.strerror}") from error
    try:
        # Looked at behind the claim: a backup that held it before has left its folder by now.
        if folder.exists():
            raise StackError(f"{folder} exists already; name a folder that doesn't")
        yield unfinished
        unfinished.rename(folder)
    except OSError as error:
        raise StackError(f"can't write {unfinished}: {error.strerror}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


async def _dump(databases: Databases, folder: Path, *, seconds: float) -> Manifest:
    parts = parts_of(databases)
    known = {name: await _look(name, address) for name, address in parts.items()}
    tool = find_tool("pg_dump", at_least=max(server for server, _ in known.values()))
    dumps: dict[str, Dump] = {}
    async with AsyncExitStack() as held:
        # All views before the first dump: what databases say about each other is of one moment,
        # as nearly as one connection after the other can be asked.
        views: dict[str, _View] = {}
        for name, address in parts.items():
            release = await held.enter_async_context(AsyncExitStack())
            with told(name, address):
                view = await release.enter_async_context(
                    hold_snapshot(address.dsn, name=PROGRAM, seconds=_SECONDS)
                )
            views[name] = _View(view, datetime.now(UTC), release)
        for name, address in parts.items():
            one = views[name]
            file = folder / f"{name}.dump"
            async with one.release:  # as soon as its own dump needs it no longer
                await _write(tool, address, file=file, snapshot=one.snapshot, seconds=seconds)
            dumps[name] = Dump(
                file=file.name,
                database=address.database,
                migration=known[name][1],
                size=file.stat().st_size,
                sha256=await asyncio.to_thread(digest, file),
                taken_at=one.taken_at,
            )
    return Manifest(
        release=version("noetl-server"),
        pg_dump=tool.major,
        shards=len(databases.shards),
        dumps=dumps,
    )


async def _look(name: str, address: DatabaseAddress) -> tuple[int, str]:
    """Return the major version of a server, and the newest migration of a database."""
    with told(name, address):
        async with open_part(address, name=PROGRAM, seconds=_SECONDS) as database:
            if (reason := await database.fetchval("read_closed")) is not None:
                raise StackError(f"{name} ({address!r}) is closed: {reason}")
            major: int = await database.fetchval("read_server_version")
            migration: str = await database.fetchval("read_schema") or ""
    return major, migration


async def _write(
    tool: Tool, address: DatabaseAddress, *, file: Path, snapshot: str, seconds: float
) -> None:
    await tool.run(
        [
            "--format=custom",
            "--no-password",
            f"--snapshot={snapshot}",
            *(f"--schema={schema}" for schema in SCHEMAS),
            f"--file={file}",
        ],
        address=address,
        name=PROGRAM,
        seconds=seconds,
    )
    handle = os.open(file, os.O_RDONLY)
    try:
        await asyncio.to_thread(os.fsync, handle)
    finally:
        os.close(handle)
