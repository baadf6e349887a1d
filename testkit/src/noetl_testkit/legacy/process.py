"""The stand-in as a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from noetl_testkit.waiting import PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class LegacyProcess:
    """A running stand-in.

    Attributes:
        url: where it listens.
        process: may be killed.
    """

    url: str
    process: subprocess.Popen[str]

    def client(self) -> httpx.Client:
        """Return an HTTP client of it."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS, trust_env=False)


@contextmanager
def running_legacy() -> Iterator[LegacyProcess]:
    """Run a stand-in, empty, for the length of the block.

    Raises:
        RuntimeError: it doesn't start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "noetl_testkit.legacy"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        url = process.stdout.readline().strip() if process.stdout else ""
        if not url.startswith("http://"):
            raise RuntimeError(f"the stand-in ended with {process.wait(timeout=PATIENCE_SECONDS)}")
        yield LegacyProcess(url, process)
    finally:
        process.kill()
        process.wait(timeout=PATIENCE_SECONDS)
        if process.stdout:
            process.stdout.close()
