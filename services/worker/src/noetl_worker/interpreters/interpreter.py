"""A warm interpreter, seen from the worker: send jobs, receive their results."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from typing import Self

import orjson
from noetl_contract.json import JsonObject

from noetl_worker.hosting.fork_server import ForkServer, StartFailed, both_ends
from noetl_worker.hosting.host.wire import HEAD
from noetl_worker.hosting.process import HostedProcess
from noetl_worker.interpreters.capture import Capture
from noetl_worker.interpreters.host.wire import (
    CONTROL,
    ENDED,
    LEFT,
    LENGTH,
    READY,
    REPORT_MARK,
)
from noetl_worker.interpreters.nursery import PREFIX, InterpreterLimits
from noetl_worker.interpreters.run import MISSING, InterpreterLost, Listener, Run

_HEAD_SIZE = len(REPORT_MARK) + LENGTH.size
_START_SECONDS = 30.0
_LAST_SECONDS = 2.0

type OnFree = Callable[["Interpreter"], None]


class Interpreter:
    """A zygote process with its pipes. One run at a time.

    Its script process ends after a script, or is kept for the next script of the same
    execution; no process gets scripts of two executions.
    """

    def __init__(
        self,
        process: HostedProcess,
        directory: str,
        pipes: tuple[int, ...],
        *,
        nursery: ForkServer,
        limits: InterpreterLimits,
        on_free: OnFree,
    ) -> None:
        self._process = process
        self._nursery = nursery
        self._directory = directory
        self._on_free = on_free
        self._loop = asyncio.get_running_loop()
        self._job, report, self._control, stdout, stderr = pipes
        os.set_blocking(self._job, False)
        os.set_blocking(self._control, False)
        self._control_bytes = b""
        # Mark and length come on top of the result itself.
        self._report = Capture(report, limit=limits.result_bytes + 1024)
        self._stdout = Capture(stdout, limit=limits.output_bytes)
        self._stderr = Capture(stderr, limit=limits.output_bytes)
        self._unsent = memoryview(b"")
        self._execution: int | None = None
        self._run: asyncio.Future[Run] | None = None
        self._started = asyncio.Event()
        self._cleanup: asyncio.Task[None] | None = None
        self._timed_out = False
        self._cut_off = False
        self._unreadable = False
        self._script_pid = 0
        self._script: int | None = None  # a descriptor: a number may be another's soon
        self._last_kill: asyncio.TimerHandle | None = None
        self._expected = 0
        self._early_report: JsonObject | None = None
        self._is_retiring = False
        self._excess: str | None = None
        self.is_lost = False
        self.kept_for: int | None = None
        """Execution whose next script may use the process."""
        self.kept_since = 0.0
        self._loop.add_reader(self._control, self._on_control)
        self._loop.add_reader(report, self._on_report)
        self._loop.add_reader(stdout, self._stdout.read)
        self._loop.add_reader(stderr, self._stderr.read)

    @classmethod
    async def start(
        cls,
        *,
        nursery: ForkServer,
        limits: InterpreterLimits,
        on_free: OnFree,
    ) -> Self:
        """Start a zygote, and wait until its first process waits for a job.

        Args:
            nursery: forks it.
            limits: bounds of its scripts.
            on_free: called after each script, and when it is lost.

        Raises:
            StartFailed: the program is not there or can't be started.
        """
        with both_ends() as ends:
            directory = ends.directory(PREFIX, limits.place)
            pipes = (ends.to_write(), *(ends.to_read() for _ in range(4)))
            process = await nursery.fork(directory.encode(), ends)
        interpreter = cls(
            process, directory, pipes, nursery=nursery, limits=limits, on_free=on_free
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                await interpreter._started.wait()
        except BaseException as error:
            await interpreter.close()
            if isinstance(error, TimeoutError):
                raise StartFailed("it did not start in time") from error
            raise
        if interpreter.is_lost:
            raise StartFailed("the interpreter ended at its start")
        return interpreter

    @property
    def is_running(self) -> bool:
        """Whether a script runs."""
        return self._run is not None and not self.is_lost

    @property
    def is_ending(self) -> bool:
        """Whether it is lost, and not all below it is gone yet."""
        return self._cleanup is not None and not self._cleanup.done()

    @property
    def has_process(self) -> bool:
        """Whether a process waits for the next job, so that it need not wait for a fork."""
        return self._script_pid != 0

    @property
    def directory(self) -> str:
        """The directory of its scripts."""
        return self._directory

    @property
    def pid(self) -> int:
        """Process id of the zygote."""
        return self._process.pid

    async def run(
        self,
        job: bytes,
        *,
        timeout: float | None,  # noqa: ASYNC109  only the time of the script counts
        execution: int | None = None,
        listener: Listener | None = None,
    ) -> Run:
        """Run one script; cancelling kills it.

        Args:
            job: the script.
            timeout: seconds until it is killed.
            execution: keep the process for this execution if the script leaves no trace.
            listener: gets what it prints as it comes.

        Raises:
            InterpreterLost: the zygote ended. Only a script that means to can do that.
        """
        if self.is_lost:
            raise InterpreterLost("the interpreter ended")
        if self._run is not None:
            raise RuntimeError("the interpreter is busy")
        if self.kept_for is not None and self.kept_for != execution:
            raise RuntimeError("the process belongs to another execution")
        run = self._run = self._loop.create_future()
        self._timed_out = self._cut_off = self._unreadable = False
        self._expected = 0
        self._excess = None
        self._early_report = None
        self.kept_for = None
        self._execution = execution
        self._listen(listener)
        self._unsent = memoryview(HEAD.pack(execution is not None, len(job)) + job)
        self._send()
        timer = (
            self._loop.call_later(timeout, self._on_timeout, run) if timeout is not None else None
        )
        try:
            return await asyncio.shield(run)
        except asyncio.CancelledError:
            # By now the next script may run here, which this cancel does not mean.
            if self._run is run:
                self.kill_script()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _listen(self, listener: Listener | None) -> None:
        self._stdout.listener = None if listener is None else partial(listener, "stdout")
        self._stderr.listener = None if listener is None else partial(listener, "stderr")

    def kill_script(self, *, reason: str | None = None) -> None:
        """End the script and all it started; the zygote reports when that is done."""
        if self.is_running:
            self._excess = reason or self._excess
            self._kill_process()

    def retire(self) -> None:
        """End the kept process; `on_free` is called when it is gone."""
        self.kept_for = None
        self._is_retiring = True
        self._kill_process()

    def _kill_process(self) -> None:
        """Kill the script process; the zygote ends its leftovers, and reports."""
        if self._last_kill is not None:
            return
        if self._script is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._script, signal.SIGKILL)
        # A script may have stopped the zygote itself.
        self._last_kill = self._loop.call_later(3.0, self._kill_all)

    def end(self) -> None:
        """End it with everything below it; `on_free` is called at once."""
        self._lose(in_order=True)

    async def close(self) -> None:
        """End it with everything below it, and wait until all is gone."""
        self.end()
        if self._cleanup is not None:
            await asyncio.shield(self._cleanup)

    def _kill_all(self) -> None:
        if self._script_pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._script_pid, signal.SIGKILL)
        self._process.send_signal(signal.SIGKILL)

    def _on_timeout(self, run: asyncio.Future[Run]) -> None:
        if self._run is run:
            self._timed_out = True
            self.kill_script()

    def _send(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._job, self._unsent) :]
        except BlockingIOError:
            self._loop.add_writer(self._job, self._send_more)
        except OSError:
            self._unsent = memoryview(b"")  # it ended: the control pipe reports it

    def _send_more(self) -> None:
        self._loop.remove_writer(self._job)
        self._send()

    def _on_control(self) -> None:
        try:
            data = os.read(self._control, 4096)
        except BlockingIOError:
            return
        if not data:
            self._lose()
            return
        data = self._control_bytes + data
        whole = len(data) - len(data) % CONTROL.size
        self._control_bytes = data[whole:]
        for kind, pid, status in CONTROL.iter_unpack(data[:whole]):
            if kind == READY:
                self._on_ready(pid)
            elif kind in (ENDED, LEFT):
                self._forget_process()
                if kind == ENDED:
                    self._on_ended(os.waitstatus_to_exitcode(status))

    def _on_ready(self, pid: int) -> None:
        self._script_pid = pid
        # It has ended, which is reported next; or no descriptor is left: a kill takes its number.
        with contextlib.suppress(OSError):
            self._script = os.pidfd_open(pid)
        self._started.set()
        if self._last_kill is not None and self._script is not None:  # meant for the run
            signal.pidfd_send_signal(self._script, signal.SIGKILL)

    def _forget_process(self) -> None:
        self._script_pid = 0
        if self._script is not None:
            os.close(self._script)
            self._script = None

    def _on_report(self) -> None:
        self._report.read()
        if self._run is None or not self._report_is_whole():
            return
        report = self._decode_report()
        if report is None:
            self._unreadable = True
            self.kill_script()
        elif report.get("kept") is True and self._may_keep():
            self.kept_for = self._execution
            self.kept_since = self._loop.time()
            self._finish(self._run_of(report, exit_code=0))
        else:
            self._early_report = report  # counts when its process has ended

    def _may_keep(self) -> bool:
        """Return whether the process may stay: asked for, its job read, and not being killed."""
        return self._execution is not None and not self._unsent and self._last_kill is None

    def _report_is_whole(self) -> bool:
        """Return whether the length of the report is known and reached, without joining parts."""
        capture = self._report
        if capture.dropped and not self._cut_off:
            self._cut_off = True
            self.kill_script()
            return False
        if not self._expected:
            head = capture.head(_HEAD_SIZE)
            if len(head) == _HEAD_SIZE and head.startswith(REPORT_MARK):
                self._expected = _HEAD_SIZE + LENGTH.unpack_from(head, len(REPORT_MARK))[0]
        return bool(self._expected) and capture.size >= self._expected

    def _on_ended(self, exit_code: int) -> None:
        self._report.drain()
        if self._run is None:
            self._report.take()
            self._report.dropped = 0
            self._stdout.drain()
            self._stdout.take_text()
            self._stderr.drain()
            self._stderr.take_text()
            self._on_idle_end()
            return
        # All is taken, also behind the report: it would be the beginning of the next one.
        report = self._decode_report()
        if self._early_report is not None:
            report = self._early_report
        self._finish(self._run_of(report, exit_code=exit_code))

    def _on_idle_end(self) -> None:
        """Note the end of a kept process, asked for or not."""
        if self._last_kill is not None:
            self._last_kill.cancel()
            self._last_kill = None
        self.kept_for = None
        if self._is_retiring:
            self._is_retiring = False
            self._on_free(self)

    def _decode_report(self) -> JsonObject | None:
        data = self._report.take()
        if len(data) < _HEAD_SIZE or not data.startswith(REPORT_MARK):
            return None
        end = _HEAD_SIZE + LENGTH.unpack_from(data, len(REPORT_MARK))[0]
        if len(data) < end:
            return None
        try:
            report = orjson.loads(data[_HEAD_SIZE:end])
        except (
            orjson.JSONDecodeError
        ):  # the script wrote to our descriptor: it loses its own result
            return None
        return report if isinstance(report, dict) else None

    def _run_of(self, report: JsonObject | None, *, exit_code: int) -> Run:
        self._stdout.drain()
        self._stderr.drain()
        return Run(
            exit_code=exit_code,
            value=MISSING if report is None else report.get("value", MISSING),
            cwd_error=None if report is None else report.get("cwd_error"),
            file_error=None if report is None else report.get("file_error"),
            refused=None if report is None else report.get("refused"),
            stdout=self._stdout.take_text(),
            stderr=self._stderr.take_text(),
            timed_out=self._timed_out,
            too_large=self._cut_off,
            unreadable=self._unreadable,
            excess=self._excess,
        )

    def _finish(self, run: Run) -> None:
        if self._last_kill is not None:
            self._last_kill.cancel()
            self._last_kill = None
        self._report.dropped = 0
        self._listen(None)
        future, self._run = self._run, None
        if self._unsent:
            # The rest of the job would be the beginning of the next one.
            self._lose(in_order=True)
        if future is not None and not future.done():
            future.set_result(run)
        if not self.is_lost:
            self._on_free(self)

    def _lose(self, *, in_order: bool = False) -> None:
        """Give it up; its run ends when all that is below it is gone.

        Args:
            in_order: the zygote is there and may end its processes itself.
        """
        if self.is_lost:
            return
        self.is_lost = True
        if self._last_kill is not None:
            self._last_kill.cancel()
        for descriptor in (
            self._control,
            self._report.descriptor,
            self._stdout.descriptor,
            self._stderr.descriptor,
        ):
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        self._loop.remove_writer(self._job)
        os.close(self._job)
        if self._script is not None:
            os.close(self._script)
            self._script = None
        self._started.set()
        self._cleanup = self._loop.create_task(self._clean_up(in_order=in_order))
        self._on_free(self)

    async def _clean_up(self, *, in_order: bool) -> None:
        try:
            is_clean = False
            if in_order:
                self._process.send_signal(signal.SIGTERM)
                self._process.send_signal(signal.SIGCONT)
                is_clean = await self._process.wait(seconds=_LAST_SECONDS)
            self._kill_all()
            await self._process.wait(seconds=_LAST_SECONDS)
            if not is_clean:
                await self._nursery.end_strays()
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
        finally:
            future, self._run = self._run, None
            if future is not None and not future.done():
                if self._timed_out:
                    future.set_result(Run(exit_code=-1, timed_out=True))
                else:
                    future.set_exception(InterpreterLost("the interpreter ended"))
