"""DBOS and Absurd: libraries that keep their steps in PostgreSQL."""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from noetl_testkit.postgres import running_postgres

from benchmarks.peers.packages import NotHereError, python_packages
from benchmarks.peers.peer import Level, Peer

_FLOW = Path(__file__).with_name("python_flow.py")
_SECONDS = 600


def _dbos(folder: Path, levels: list[tuple[int, int]]) -> Iterator[Level]:
    python = python_packages(folder / "dbos", "dbos", "psycopg[binary]")
    with _database() as dsn:
        yield from _run(python, "dbos", dsn, levels)


def _absurd(folder: Path, levels: list[tuple[int, int]]) -> Iterator[Level]:
    python = python_packages(folder / "absurd", "absurd-sdk", "absurdctl")
    with _database() as dsn:
        try:
            subprocess.run(
                [str(python.with_name("absurdctl")), "init", "-d", dsn],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
        except subprocess.TimeoutExpired as error:
            raise NotHereError("absurdctl could not fetch its tables in 60 s") from error
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout).strip().splitlines() or ["nothing was said"]
            raise NotHereError(f"absurdctl could not fetch its tables: {said[-1]}") from error
        yield from _run(python, "absurd", dsn, levels)


def _run(python: Path, which: str, dsn: str, levels: list[tuple[int, int]]) -> Iterator[Level]:
    words = [f"{at_once}:{flows}" for at_once, flows in levels]
    done = subprocess.run(
        [str(python), str(_FLOW), which, dsn, *words],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{which} ended with {done.returncode}: {done.stderr[-2000:]}")
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            yield Level(**json.loads(line))


@contextlib.contextmanager
def _database() -> Iterator[str]:
    """Run a PostgreSQL server with fsync on and the settings of a stack."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-peer-") as folder,
        running_postgres(Path(folder) / "data", durable=True) as server,
    ):
        yield server.create().dsn


DBOS = Peer(
    "DBOS, steps of a workflow",
    "one row and commit in PostgreSQL, in the process of the flow",
    has_hop=False,
    measure=_dbos,
)
ABSURD = Peer(
    "Absurd, steps of a task",
    "one row and commit in PostgreSQL, in the process of the flow",
    has_hop=False,
    measure=_absurd,
)
