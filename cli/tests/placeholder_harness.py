"""A stack of real NATS and PostgreSQL with placeholder services, in processes of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from noetl.stack.datadir import DataDirectory
from noetl.stack.process import birth
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

READY = "Ctrl-C stops"
HERE = Path(__file__).parent


class PlaceholderStack:
    """Starts, kills and looks into one stack."""

    def __init__(self, root: Path) -> None:
        self.data = DataDirectory(root / "data")
        self._log = root / "up.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def command(self) -> list[str]:
        return [sys.executable, str(HERE / "placeholder_stack.py"), str(self.data.root)]

    def start(self) -> None:
        self._starts += 1
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(HERE)},
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        process = self._process
        assert process is not None
        wait_until(
            lambda: process.poll() is not None or self.output().count(READY) == self._starts,
            what="the stack is ready",
        )
        assert process.poll() is None, self.output()

    def is_ready(self) -> bool:
        entries = self.services().values()
        return bool(entries) and all(
            entry["state"] == "ready" and birth(entry["pid"]) == entry["birth"] for entry in entries
        )

    def services(self) -> dict[str, dict[str, Any]]:
        state = self.data.state() or {"services": []}
        return {entry["name"]: entry for entry in state["services"]}

    def pid(self, name: str) -> int:
        return int(self.services()[name]["pid"])

    def kill_and_wait(self, name: str) -> None:
        """SIGKILLs one process and waits until its successor is ready."""
        before = self.services()[name]
        os.kill(before["pid"], signal.SIGKILL)
        wait_until(
            lambda: self.services()[name]["restarts"] > before["restarts"] and self.is_ready(),
            what=f"{name} is back",
        )

    def kill_supervisor(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=PATIENCE_SECONDS)

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(timeout=PATIENCE_SECONDS)
        self._process = None
        return code

    def output(self) -> str:
        return self._log.read_text()

    @property
    def nats_url(self) -> str:
        identity = self.data.identity()
        return f"nats://noetl:{identity.nats_password}@127.0.0.1:{identity.ports['nats']}"

    @property
    def database(self) -> Database:
        identity = self.data.identity()
        return Database(
            host="127.0.0.1",
            port=identity.ports["postgres"],
            user="noetl",
            password=identity.postgres_password,
            name="noetl",
        )
