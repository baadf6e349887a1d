"""The process of a warm interpreter, with its pipes."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import orjson

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop()); "
    "from host.zygote import main; del sys.path[0]; main()"
)
_HOST_DIRECTORY = str(Path(__file__).parent)


class StartFailed(Exception):
    """The interpreter could not be started."""


@dataclass(frozen=True, slots=True)
class InterpreterLimits:
    """Bounds on what one script may use or leave in memory here; 0 means none."""

    memory_bytes: int
    file_bytes: int
    output_bytes: int
    result_bytes: int


@dataclass(frozen=True, slots=True)
class ZygoteProcess:
    """A started zygote: its directory, and the worker's ends of its pipes."""

    process: subprocess.Popen[bytes]
    directory: str
    job: int
    control: int
    report: int
    stdout: int
    stderr: int


def start_zygote(*, executable: str | None, limits: InterpreterLimits) -> ZygoteProcess:
    """Start a zygote in a new directory.

    Args:
        executable: the interpreter; without it our own, without installed packages.
        limits: bounds of its scripts.

    Raises:
        StartFailed: the program is not there or can't be started.
    """
    directory = tempfile.mkdtemp(prefix="noetl-python-")
    job_in, job_out = os.pipe()
    report_in, report_out = os.pipe()
    control_in, control_out = os.pipe()
    stdout_in, stdout_out = os.pipe()
    stderr_in, stderr_out = os.pipe()
    given = (job_in, report_out, control_out)
    try:
        process = subprocess.Popen(  # noqa: S603  the configured interpreter
            _command(executable, given, limits),
            pass_fds=given,
            stdin=subprocess.DEVNULL,
            stdout=stdout_out,
            stderr=stderr_out,
            cwd=directory,
            env=_environment(directory),
            start_new_session=True,
        )
    except OSError as error:
        for descriptor in (job_out, report_in, control_in, stdout_in, stderr_in):
            os.close(descriptor)
        shutil.rmtree(directory, ignore_errors=True)
        raise StartFailed(f"{error.strerror} (os error {error.errno})") from error
    finally:
        for descriptor in (*given, stdout_out, stderr_out):
            os.close(descriptor)
    return ZygoteProcess(process, directory, job_out, control_in, report_in, stdout_in, stderr_in)


def _command(
    executable: str | None, descriptors: tuple[int, ...], limits: InterpreterLimits
) -> list[str]:
    """Return the command line; `host.zygote.main` reads its arguments."""
    options = ["-I", "-X", "utf8"] if executable else ["-I", "-S", "-X", "utf8"]
    bounds = {"memory_bytes": limits.memory_bytes, "file_bytes": limits.file_bytes}
    return [
        executable or sys._base_executable,  # type: ignore[attr-defined]  # noqa: SLF001  the one outside of environments
        *options,
        "-c",
        _BOOT,
        *(str(descriptor) for descriptor in descriptors),
        str(os.getpid()),
        orjson.dumps(bounds).decode(),
        _HOST_DIRECTORY,
    ]


def _environment(directory: str) -> dict[str, str]:
    """Return the environment of scripts: enough to find programs, nothing of the worker's."""
    kept = {name: value for name in ("PATH", "TZ") if (value := os.environ.get(name))}
    return {
        "PATH": os.defpath,
        **kept,
        "HOME": directory,
        "TMPDIR": directory,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
