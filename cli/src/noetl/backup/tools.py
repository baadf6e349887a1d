"""PostgreSQL's own programs: which one suits a server, and how it is run."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noetl_common.pg.tls import ssl_mode
from noetl_common.settings import PostgresTls
from noetl_common.shards import DatabaseAddress

from noetl.stack.errors import BinaryMissingError, StackError
from noetl.stack.servers import binaries

type Program = Literal["pg_dump", "pg_restore"]

_ASK_SECONDS = 10.0
_COMPLAINT_CHARS = 2000
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, slots=True)
class Tool:
    """One of PostgreSQL's programs."""

    path: Path
    major: int

    def run(
        self,
        arguments: Sequence[str],
        *,
        address: DatabaseAddress | None = None,
        seconds: float,
    ) -> str:
        """Run it and return what it printed; files that it makes are its owner's alone.

        Args:
            arguments: without the program and the address.
            address: database that it talks to.
            seconds: after which it is killed.

        Raises:
            StackError: it failed or took too long; the text holds its complaint.
        """
        login = {} if address is None else _login(address)
        try:
            done = subprocess.run(
                [str(self.path), *arguments],
                # The password travels in the environment, which others can't read.
                env={**os.environ, **login},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                umask=0o077,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StackError(
                f"{self.path.name} was stopped after {seconds / 60:.0f} minutes; --minutes gives "
                "it more"
            ) from None
        if done.returncode != 0:
            complaint = (done.stderr or done.stdout).strip()[-_COMPLAINT_CHARS:]
            raise StackError(f"{self.path.name} failed: {complaint}")
        return done.stdout


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


def _login(address: DatabaseAddress) -> Mapping[str, str]:
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
        "PGAPPNAME": "noetl-server backup",
        **{name: value for name, value in named.items() if value},
    }
