"""A broker that is a program: started, killed, started again on the same port."""

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from noetl_testkit.process import start
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    import subprocess


class Program:
    """A server process.

    Args:
        command: how it is started.
        log: file of its output.
        is_ready: whether it answers.
        environment: variables of its own.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        is_ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._log = log
        self._is_ready = is_ready
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it has ended; the text has the end of its output.
        """
        process = start(self._command, log=self._log, environment=self._environment)
        self._process = process
        wait_until(
            lambda: process.poll() is not None or self._is_ready(),
            what=f"{self._command[0]} answers",
        )
        if process.poll() is not None:
            raise RuntimeError(self._log.read_text(errors="replace")[-2000:])

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=PATIENCE_SECONDS)
            self._process = None

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()
