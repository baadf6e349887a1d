"""The process that runs scripts of one execution."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import contextvars
import json
import linecache
import os
import random
import select
import signal
import stat
import sys
import threading
import traceback
import types
from json import dumps, loads
from typing import TYPE_CHECKING, Any, NoReturn

from noetl_worker.hosting.host import limits
from noetl_worker.hosting.host.wire import read_frame
from noetl_worker.interpreters.host import imports
from noetl_worker.interpreters.host.body import Body
from noetl_worker.interpreters.host.results import NotJson, encode
from noetl_worker.interpreters.host.wire import LENGTH, REPORT_MARK, STALE

if TYPE_CHECKING:
    from types import CodeType, TracebackType

    from noetl_worker.hosting.host.box import Box
    from noetl_worker.interpreters.host.traces import Traces


_KNOWN_BODIES = 16
_set_mask = signal.pthread_sigmask
_SIGKILL, _SET = int(signal.SIGKILL), int(signal.SIG_SETMASK)
_seed = random.seed


class ScriptProcess:
    """Wait for a job, run it, report; end unless the script left no trace.

    The worker sends jobs of one execution only to one process.
    """

    def __init__(
        self,
        *,
        job: int,
        report: int,
        control: int,
        parent: int,
        largest: int,
        box: Box | None,
        traces: Traces,
    ) -> None:
        self._largest = largest
        self._job = job
        self._report = report
        self._control = control
        self._parent = parent
        self._box = box
        self._traces = traces
        self._last: CodeType | None = None
        # By name and text; loops run one text often.
        self._bodies: dict[tuple[str, str], Body] = {}

    def live(self) -> NoReturn:
        status = 1
        try:
            self._prepare()
            status = self._serve()
        except BaseException:  # noqa: BLE001  the fork must end here, whatever happened
            try:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(1)
        os._exit(status)

    def _serve(self) -> int:
        stays, status = True, 0
        while stays:
            stays, status = self.serve_one()
        return status

    def serve_one(self) -> tuple[bool, int]:
        """Run the next job; return whether the process may have another, and its exit status."""
        if self._last is not None:
            self._wait_for_next(self._last)
        frame = read_frame(self._job)
        if frame is None:
            os._exit(0)  # the worker is gone
        job: dict[str, Any] = loads(frame[1])
        # An empty context: a script keeps decimal's precision, and the like, to itself.
        return contextvars.Context().run(self._work, job, may_stay=frame[0])

    def _prepare(self) -> None:
        _set_mask(_SET, ())  # not the zygote's
        os.setpgid(0, 0)
        if self._box is not None:
            self._box.close_in()
        if not limits.arm_parent_death(_SIGKILL, parent=self._parent):
            os._exit(1)
        os.close(self._control)
        _seed()
        self._traces.begin()

    def _wait_for_next(self, last: CodeType) -> None:
        """Wait for a job; end without reading it if the last script left traces.

        The look is here, not behind the script: most processes get no further one.
        """
        select.select([self._job], [], [])
        if self._traces.are_found(last):
            os.kill(os.getpid(), STALE)

    def _work(self, job: dict[str, Any], *, may_stay: bool) -> tuple[bool, int]:
        if job.get("env"):
            os.environ.update(job["env"])
        if job.get("cwd"):
            try:
                os.chdir(job["cwd"])
            except OSError as error:
                self._report_bytes(dumps({"cwd_error": _os_text(error)}).encode())
                return False, 1
        if "file" in job:
            # Read here, not by the worker: it can reach more than a script may.
            try:
                job["code"] = _read_source(job["file"], job["largest_source"])
            except (OSError, ValueError) as error:
                self._report_bytes(dumps({"file_error": str(error)}).encode())
                return False, 1
        status, said = self._execute(job)
        if may_stay and status == 0 and self._may_stay(job):
            _flush()
            self._report_said(b'"kept":true', said)
            return True, status
        self._report_said(said)
        _end_interpreter()
        _flush()
        return False, status

    def _execute(self, job: dict[str, Any]) -> tuple[int, bytes]:
        """Return the exit status, and the report: the value, or why it has no JSON.

        Nothing of a script that was cut short; null of one that gave no value.
        """
        name = job["name"]
        source = job["code"]
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            if "random" in source:
                random.seed()  # hides the seed of an earlier script
            namespace = _namespace(job)
            if job.get("libs"):
                imports.add_imports(namespace, job["libs"], taken=job["args"])
            value = self._body(source, name).evaluate(namespace, dict(job["args"]))
            return 0, b'"value":' + _utf8(self._encoded(value))
        except NotJson as refused:
            return 0, b'"refused":' + _utf8(dumps(str(refused)))
        except SystemExit as end:
            return _exit_status(end), b""
        except BaseException as error:  # noqa: BLE001  a script may raise anything
            if isinstance(error, MemoryError):
                limits.lift_memory_limit()
            _print_error(error, name)
            return 1, b""

    def _encoded(self, value: Any) -> str:
        return "null" if value is None else encode(value, most=self._largest)

    def _body(self, source: str, name: str) -> Body:
        known = self._bodies.get((name, source))
        if known is None:
            if len(self._bodies) >= _KNOWN_BODIES:
                self._bodies.clear()
            known = self._bodies[name, source] = Body(source, name=name)
        return known

    def _may_stay(self, job: dict[str, Any]) -> bool:
        self._last = self._bodies[job["name"], job["code"]].code
        sys.modules.pop("__main__", None)
        linecache.cache.pop(job["name"], None)
        job.clear()
        return not self._traces.are_alive()

    def _report_said(self, *parts: bytes) -> None:
        self._report_bytes(b"{" + b",".join(part for part in parts if part) + b"}")

    def _report_bytes(self, data: bytes) -> None:
        frame = memoryview(REPORT_MARK + LENGTH.pack(len(data)) + data)
        try:
            while frame:
                frame = frame[os.write(self._report, frame) :]
        except OSError as error:  # the script closed it: it loses its own result
            _complain(f"the result could not be reported: {error}")
            _flush()
            os._exit(1)


def _read_source(path: str, most: int) -> str:
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  the host avoids pathlib
        raise ValueError("not a regular file")
    with open(path, "rb") as file:  # noqa: PTH123  faster
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most} bytes")
    return data.decode()


def _namespace(job: dict[str, Any]) -> dict[str, Any]:
    args = job["args"]
    context = {
        "args": args,
        "variables": job.get("variables", {}),
        "execution_id": job["execution_id"],
        "step": job["step"],
        "server_url": job["server_url"],
    }
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module  # where pickle and dataclasses look for a script's names
    namespace = module.__dict__
    namespace["__builtins__"] = builtins
    for name in ("args", "variables", "execution_id", "step"):
        namespace[name] = context[name]
    namespace["context"] = context
    namespace["sys"] = sys
    namespace["json"] = json
    namespace.update(args)
    namespace["input_data"] = _input_data(args)
    return namespace


def _input_data(args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments again, for scripts that read them as a mapping.

    Many playbooks pass an object under this very name and expect to read its fields. They find
    them behind the arguments themselves, which win; the `data` that templates add to an object
    as a copy of itself is none of its fields.
    """
    inner = args.get("input_data")
    if not isinstance(inner, dict):
        return dict(args)
    fields = {name: value for name, value in inner.items() if name != "data"}
    if inner.get("data") == fields:
        inner = fields
    return {**inner, **args}


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # halves of surrogate pairs
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _exit_status(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    _complain(str(end.code))
    return 1


def _print_error(error: BaseException, name: str) -> None:
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != name:
        trace = trace.tb_next
    try:
        traceback.print_exception(type(error), error, trace)
    except BaseException:  # noqa: BLE001  a broken __str__, a closed stream: a failure all the same
        os._exit(1)


def _end_interpreter() -> None:
    """End as at a normal exit: wait for threads, run the exit functions."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  as the exit does
        atexit._run_exitfuncs()  # noqa: SLF001  as the exit does
    except BaseException:  # noqa: BLE001  as at a normal exit: shown, nothing more
        traceback.print_exc()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # It may have been closed or replaced by the script.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _complain(text: str) -> None:
    """Print a message for the script's author."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{text}\n")


def _os_text(error: OSError) -> str:
    return f"{error.strerror} (os error {error.errno})"
