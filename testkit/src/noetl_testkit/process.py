"""Processes that tests start themselves."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


def start(argv: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, output appended to a log file."""
    with log.open("ab") as output:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
