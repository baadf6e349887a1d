"""The process that runs one script."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import json
import linecache
import os
import signal
import stat
import sys
import threading
import traceback
import types
from json import dumps, loads
from typing import TYPE_CHECKING, Any, NoReturn

from . import limits
from .body import Body
from .wire import LENGTH, REPORT_MARK

if TYPE_CHECKING:
    from types import TracebackType


class ScriptProcess:
    """Wait for a job, run it, report, end."""

    def __init__(
        self, *, job: int, report: int, control: int, limits: dict[str, int], parent: int
    ) -> None:
        self._job = job
        self._report = report
        self._control = control
        self._limits = limits
        self._parent = parent

    def live(self) -> NoReturn:
        status = 1
        try:
            self._prepare()
            status = self._work(self._read_job())
        except BaseException:  # noqa: BLE001  the fork must end here, whatever happened
            try:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(1)
        os._exit(status)

    def _prepare(self) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)
        if not limits.arm_parent_death(signal.SIGKILL, parent=self._parent):
            os._exit(1)
        os.close(self._control)
        limits.apply_limits(self._limits)

    def _read_job(self) -> dict[str, Any]:
        (size,) = LENGTH.unpack(self._read_exactly(LENGTH.size))
        job: dict[str, Any] = loads(self._read_exactly(size))
        return job

    def _read_exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self._job, min(size, 1 << 20))
            if not part:
                os._exit(0)  # the worker is gone
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _work(self, job: dict[str, Any]) -> int:
        if job.get("env"):
            os.environ.update(job["env"])
        if job.get("cwd"):
            try:
                os.chdir(job["cwd"])
            except OSError as error:
                self._report_bytes(dumps({"cwd_error": _os_text(error)}).encode())
                return 1
        if "file" in job:
            # Read here, not by the worker: it can reach more than a script may.
            try:
                job["code"] = _read_source(job["file"], job["largest_source"])
            except (OSError, ValueError) as error:
                self._report_bytes(dumps({"file_error": str(error)}).encode())
                return 1
        status, value = _execute(job)
        # No value: the script was cut short or its result has no JSON; null: it gave none.
        self._report_bytes(b"{}" if value is None else b'{"value":' + _utf8(value) + b"}")
        _end_interpreter()
        _flush()
        return status

    def _report_bytes(self, data: bytes) -> None:
        frame = memoryview(REPORT_MARK + LENGTH.pack(len(data)) + data)
        try:
            while frame:
                frame = frame[os.write(self._report, frame) :]
        except OSError as error:  # the script closed it: it loses its own result
            _complain(f"the result could not be reported: {error}")
            _flush()
            os._exit(1)


def _execute(job: dict[str, Any]) -> tuple[int, str | None]:
    """Return the exit status, and the value as JSON if there is one."""
    name = job["name"]
    source = job["code"]
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        value = Body(source, name=name).evaluate(_namespace(job), dict(job["args"]))
        return 0, _encode(value)
    except SystemExit as end:
        return _exit_status(end), None
    except BaseException as error:  # noqa: BLE001  a script may raise anything
        if isinstance(error, MemoryError):
            limits.lift_memory_limit()
        _print_error(error, name)
        return 1, None


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


def _encode(value: Any) -> str | None:
    """JSON of a result; `stderr` says why there is none."""
    if value is None:
        return "null"
    try:
        return dumps(value, default=str, allow_nan=False, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as error:
        _complain(f"the result is not JSON: {error}")
        # Not a number: no result at all; anything else: a null one.
        return None if "float values" in str(error) else "null"


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
    """Tell the script's author something."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{text}\n")


def _os_text(error: OSError) -> str:
    return f"{error.strerror} (os error {error.errno})"
