"""The waiting parent: forks script processes, ends their leftovers, reports.

It runs no foreign code. A process is forked before its job arrives, so no job waits for a
fork. It serves scripts of one execution, one after the other as long as they leave no trace:
what a script changes in its process reaches no script of another execution.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from noetl_worker.hosting.host import limits
from noetl_worker.interpreters.host.script import ScriptProcess
from noetl_worker.interpreters.host.wire import CONTROL, ENDED, LEFT, READY, STALE

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from noetl_worker.hosting.host.box import Box
    from noetl_worker.interpreters.host.traces import Traces


_AWAITED = (signal.SIGTERM, signal.SIGCHLD)
_TRIES = 100
_PAUSE_SECONDS = 0.1


class Zygote:
    """The parent of script processes; ends with the worker."""

    def __init__(
        self,
        *,
        job: int,
        report: int,
        control: int,
        largest: int,
        box: Box | None,
        traces: Traces,
        fork: Callable[[], int],
    ) -> None:
        self.job = job
        self.report = report
        self.control = control
        self._largest = largest
        self._box = box
        self._traces = traces
        self._fork = fork
        self.directory = os.getcwd()  # noqa: PTH109  the host avoids pathlib on the hot path
        self._child = 0
        self._pid = os.getpid()
        self._children = f"/proc/{self._pid}/task/{self._pid}/children"

    def serve(self, *, parent: int) -> None:
        # Waited for and never handled: a handler's signal that comes just before a wait for a
        # script leaves the wait asleep, and us alive without the nursery.
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not limits.arm_parent_death(signal.SIGTERM, parent=parent):
            self._end()
        limits.adopt_orphans()
        self._traces.settle(
            descriptors_closed=1 + (self._box.descriptors if self._box is not None else 0)
        )
        gc.freeze()
        try:
            while True:
                self._serve_one_process()
        except BrokenPipeError:
            # The worker is gone. Its pipes end before the signal of its death comes.
            self._end()

    def _serve_one_process(self) -> None:
        pid = self._forked()
        if pid == 0:
            ScriptProcess(
                job=self.job,
                report=self.report,
                control=self.control,
                parent=self._pid,
                largest=self._largest,
                box=self._box,
                traces=self._traces,
            ).live()
        self._child = pid
        os.write(self.control, CONTROL.pack(READY, pid, 0))
        status = self._wait_for(pid)
        self._child = 0
        _kill_group(pid)
        self._end_descendants(seconds=5.0)
        is_left = status == STALE and self._has_job()
        if not is_left:
            self._drop_unread_job()
        self._empty_directory()
        os.write(self.control, CONTROL.pack(LEFT if is_left else ENDED, pid, status))

    def _forked(self) -> int:
        """Fork as soon as the system lets us; end if it doesn't for long."""
        for _ in range(_TRIES):
            try:
                pid = self._fork()
            except OSError:
                pid = -1  # as that of the system's library, which raises nothing
            if pid >= 0:
                return pid
            if signal.sigtimedwait((signal.SIGTERM,), _PAUSE_SECONDS) is not None:
                break
        return self._end()

    def _wait_for(self, pid: int) -> int:
        """Return how a script process has ended; end with it on SIGTERM."""
        while True:
            if signal.sigwaitinfo(_AWAITED).si_signo == signal.SIGTERM:
                self._end()
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return status

    def _end(self) -> NoReturn:
        if self._child:
            _kill_group(self._child)
        self._end_descendants(seconds=1.0)
        remove_content(self.directory)
        with contextlib.suppress(OSError):
            os.rmdir(self.directory)  # noqa: PTH106  as above
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
                with open(self._children) as file:  # noqa: PTH123  as above
                    pids = file.read().split()
            except OSError:
                return
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.001)

    def _drop_unread_job(self) -> None:
        while self._has_job() and os.read(self.job, 65536):
            pass

    def _has_job(self) -> bool:
        return bool(select.select([self.job], [], [], 0)[0])

    def _empty_directory(self) -> None:
        # The script may have removed it, or put another one in its place.
        try:
            os.chdir(self.directory)
        except OSError:
            os.mkdir(self.directory, 0o700)  # noqa: PTH102  as above
            os.chdir(self.directory)
        if os.listdir("."):  # noqa: PTH208  as above
            remove_content(self.directory)


def remove_content(directory: str) -> None:
    """Remove the content of a directory, as far as possible."""
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            import shutil  # noqa: PLC0415  brings libraries that each fork would copy

            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)  # noqa: PTH108  the host avoids pathlib


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
