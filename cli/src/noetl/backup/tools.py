"""PostgreSQL's own programs: which one suits a server, and how it is run."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noetl_common.shards import DatabaseAddress
from noetl_pg.settings import PostgresTls
from noetl_pg.tls import ssl_mode

from noetl.stack.errors import BinaryMissingError, StackError
from noetl.stack.process import with_parent_death
from noetl.stack.servers import binaries

type Program = Literal["pg_dump", "pg_restore"]

_ASK_SECONDS = 10.0
_END_SECONDS = 10.0
_COMPLAINT_CHARS = 2000
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, slots=True)
class Tool:
    """One of PostgreSQL's programs."""

    path: Path
    major: int

    async def run(
        self,
        arguments: Sequence[str],
        *,
        seconds: float,
        address: DatabaseAddress | None = None,
        name: str = "noetl-server",
    ) -> str:
        """Run it and return its output; files that it makes are its owner's alone.

        It ends when the caller is cancelled, and when this process dies: call it in the main
        thread.

        Args:
            arguments: without the program and the address.
            seconds: after which it is stopped.
            address: database that it talks to.
            name: shown by the server.

        Raises:
            StackError: it failed or took too long; the text holds its complaint.
        """
        login = {} if address is None else _login(address, name)
        process = await asyncio.create_subprocess_exec(
            *with_parent_death([str(self.path), *arguments], signal_name="TERM"),
            # The password travels in the environment, which others can't read.
            env={**os.environ, **login},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            umask=0o077,
            # A Ctrl-C reaches this process alone, which ends the child in order.
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(seconds):
                output, complaints = await process.communicate()
        except TimeoutError:
            raise StackError(
                f"{self.path.name} was stopped after {seconds / 60:.0f} minutes; --minutes gives "
                "it more"
            ) from None
        finally:
            await _end(process)
        said = output.decode(errors="replace")
        if process.returncode != 0:
            complaint = complaints.decode(errors="replace") or said
            raise StackError(f"{self.path.name} failed: {complaint.strip()[-_COMPLAINT_CHARS:]}")
        return said


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a program that may still run; asked first, so that it cancels the server's work."""
    for ask in (process.terminate, process.kill):
        if process.returncode is None:
            ask()
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await process.wait()


def find_tool(program: Program, *, at_least: int, search: str | None = None) -> Tool:
    """Return the first that is new enough: of PATH, of Debian's packages, of the embedded server.

    Args:
        program: its name.
        at_least: major version of the server or dump that it must know.
        search: folders like PATH, which is taken if absent.

    Raises:
        StackError: there is none; the text says which were found and what to install.
    """
    too_old: list[Tool] = []
    for path in _candidates(program, search):
        major = _major(path)
        if major is None:
            continue
        if major >= at_least:
            return Tool(path, major)
        too_old.append(Tool(path, major))
    if too_old:
        found = ", ".join(f"{tool.path} of version {tool.major}" for tool in too_old)
        raise StackError(
            f"{program} is too old: version {at_least} or newer is needed, there is {found}; "
            f"install postgresql-client-{at_least}"
        )
    raise StackError(
        f"{program} is missing: install PostgreSQL's client programs "
        f"(postgresql-client-{at_least}) and put them on PATH, or install noetl-server[local]"
    )


def _candidates(program: str, search: str | None) -> Iterator[Path]:
    on_path = shutil.which(program, path=search)
    if on_path is not None:
        yield Path(on_path)
    if search is not None:
        return
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{program}")
    yield from sorted(versions, key=lambda path: path.parts[-3].zfill(3), reverse=True)
    try:
        yield binaries.postgres(program)
    except BinaryMissingError:
        return


def _major(path: Path) -> int | None:
    try:
        said = subprocess.run(
            [str(path), "--version"],
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(said)
    return int(found[1]) if found else None


def _login(address: DatabaseAddress, name: str) -> Mapping[str, str]:
    tls = PostgresTls()
    mode = ssl_mode(address.host, tls.postgres_sslmode)
    # Of the machine, unless a file is named, as for the services.
    root = tls.postgres_sslrootcert or ("system" if mode == "verify-full" else "")
    named = {
        "PGSSLROOTCERT": root,
        "PGSSLCERT": tls.postgres_sslcert,
        "PGSSLKEY": tls.postgres_sslkey,
    }
    return {
        "PGHOST": address.host,
        "PGPORT": str(address.port),
        "PGUSER": address.user,
        "PGPASSWORD": address.password,
        "PGDATABASE": address.database,
        "PGSSLMODE": mode,
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": name,
        **{name: value for name, value in named.items() if value},
    }
