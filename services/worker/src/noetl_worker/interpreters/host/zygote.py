"""The waiting parent: forks script processes, ends what they leave behind, reports.

It runs no foreign code. A process is forked before its job arrives, so no job waits for a
fork. It serves scripts of one execution, one after the other as long as they leave no trace:
what a script changes in its process reaches no script of another execution.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import limits
from .script import ScriptProcess
from .wire import CONTROL, ENDED, READY

if TYPE_CHECKING:
    from typing import NoReturn

    from .traces import Traces


class Zygote:
    """The parent of script processes; ends with the worker."""

    def __init__(
        self, *, job: int, report: int, control: int, limits: dict[str, int], traces: Traces
    ) -> None:
        self.job = job
        self.report = report
        self.control = control
        self.limits = limits
        self._traces = traces
        self.directory = os.getcwd()  # noqa: PTH109  the host avoids pathlib on the hot path
        self._child = 0
        self._pid = os.getpid()
        self._children = Path(f"/proc/{self._pid}/task/{self._pid}/children")

    def serve(self, *, parent: int) -> None:
        signal.signal(signal.SIGUSR1, self._on_kill)
        signal.signal(signal.SIGTERM, self._on_end)
        if not limits.arm_parent_death(signal.SIGTERM, parent=parent):
            self._end()
        limits.adopt_orphans()
        self._traces.settle()
        gc.freeze()
        try:
            while True:
                self._serve_one_process()
        except BrokenPipeError:
            # The worker is gone. Its pipes end before the signal of its death comes.
            self._end()

    def _serve_one_process(self) -> None:
        pid = os.fork()
        if pid == 0:
            ScriptProcess(
                job=self.job,
                report=self.report,
                control=self.control,
                limits=self.limits,
                parent=self._pid,
                traces=self._traces,
            ).live()
        self._child = pid
        with contextlib.suppress(OSError):  # it did so itself, or is gone
            os.setpgid(pid, pid)
        os.write(self.control, CONTROL.pack(READY, pid, 0))
        _, status = os.waitpid(pid, 0)
        self._child = 0
        _kill_group(pid)
        self._end_descendants(seconds=5.0)
        self._drop_unread_job()
        self._empty_directory()
        os.write(self.control, CONTROL.pack(ENDED, pid, status))

    def _on_kill(self, _number: int, _frame: object) -> None:
        if self._child:
            _kill_group(self._child)

    def _on_end(self, _number: int, _frame: object) -> None:
        self._end()

    def _end(self) -> NoReturn:
        if self._child:
            _kill_group(self._child)
        self._end_descendants(seconds=1.0)
        shutil.rmtree(self.directory, ignore_errors=True)
        os._exit(0)

    def _end_descendants(self, *, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                found, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if found:
                continue
            try:
                pids = self._children.read_text().split()
            except OSError:
                return
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.001)

    def _drop_unread_job(self) -> None:
        os.set_blocking(self.job, False)
        try:
            while os.read(self.job, 65536):
                pass
        except BlockingIOError:
            pass
        finally:
            os.set_blocking(self.job, True)

    def _empty_directory(self) -> None:
        # The script may have removed it, or put another one in its place.
        try:
            os.chdir(self.directory)
        except OSError:
            os.mkdir(self.directory, 0o700)  # noqa: PTH102  as above
            os.chdir(self.directory)
        for entry in os.scandir(self.directory):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108  as above


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
