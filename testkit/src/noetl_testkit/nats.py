"""Real NATS for tests."""

import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from noetl.stack.process import free_port
from noetl.stack.servers.nats import NatsInstance
from noetl.stack.servers.nats_probe import NatsProbe, NatsProbeError
from noetl_contract.documents.broker_users import broker_users

from noetl_testkit.process import start
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    import subprocess


class NatsServer:
    """A NATS server that a test may kill, restart, or rob of its store."""

    def __init__(self, directory: Path) -> None:
        self.instance = NatsInstance(
            directory=directory,
            name=f"test-{secrets.token_hex(4)}",
            port=free_port(),
            passwords={user.name: secrets.token_hex(8) for user in broker_users()},
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address with user and password; stays the same over restarts."""
        return self.instance.url

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it is ready."""
        self.instance.prepare()
        process = start(self.instance.command(), log=self.instance.directory / "nats.log")
        self._process = process
        wait_until(
            lambda: process.poll() is not None or self.instance.is_ready(),
            what="NATS is ready",
            every_seconds=0.005,
        )
        if process.poll() is not None:
            raise RuntimeError((self.instance.directory / "nats.log").read_text()[-2000:])

    def stop(self) -> None:
        """Stop the server in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server, as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kills it and starts it again on the same port with the same store."""
        self.kill()
        self.start()

    def wipe(self) -> None:
        """Kills it and starts it again with an empty store."""
        self.kill()
        shutil.rmtree(self.instance.store, ignore_errors=True)
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=PATIENCE_SECONDS)
            self._process = None


@contextmanager
def running_nats(directory: Path) -> Iterator[NatsServer]:
    """Run a server during the block."""
    server = NatsServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def stream_names(probe: NatsProbe) -> list[str]:
    """Names of all JetStream streams."""
    names: list[str] = []
    while True:
        page = probe.request("$JS.API.STREAM.NAMES", {"offset": len(names)})
        if "error" in page:
            raise NatsProbeError(str(page["error"]))
        names += page.get("streams") or []
        if len(names) >= page.get("total", 0):
            return names


@contextmanager
def without_leftover_streams(url: str) -> Iterator[None]:
    """Delete the streams made during the block; earlier streams stay.

    What stayed behind would be taken for earlier streams by all tests that follow, so a slow
    server is asked again.
    """
    with NatsProbe(url) as probe:
        before = set(stream_names(probe))
    yield

    def are_gone() -> bool:
        try:
            with NatsProbe(url) as probe:
                left = set(stream_names(probe)) - before
                for name in left:
                    probe.request(f"$JS.API.STREAM.DELETE.{name}")
                return not left or set(stream_names(probe)) <= before
        except (OSError, NatsProbeError):
            return False

    wait_until(are_gone, what="the streams of the test are deleted")


def foreign_nats_url() -> str | None:
    """Address of a server that the caller of the tests wants used."""
    return os.environ.get("NOETL_NATS_URL") or None


def wait_for_stream(url: str, name: str) -> None:
    """Wait until a stream exists."""

    def exists() -> bool:
        with NatsProbe(url) as probe:
            return name in stream_names(probe)

    wait_until(exists, what=f"stream {name} exists")


__all__ = [
    "NatsServer",
    "foreign_nats_url",
    "running_nats",
    "wait_for_stream",
    "without_leftover_streams",
]
