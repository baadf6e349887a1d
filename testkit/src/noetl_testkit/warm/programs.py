"""Programs for tests: ``noetl-server`` and the services as forks of a loaded process.

Loading a service costs a processor more than a second, a stack has six, and a command line takes
most of a second more. What runs is what ``noetl-server`` and ``python -m noetl_…`` run, in
processes of their own, with the arguments, folder, environment and files of who calls.
"""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from noetl_testkit.waiting import PATIENCE_SECONDS

_CALLER = """#!{python} -IS
import json, os, signal, socket, sys
caller = socket.socket(socket.AF_UNIX)
caller.connect({path!r})
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: caller.sendall(bytes([number])))
socket.send_fds(caller, [b"-"], [0, 1, 2])
module = {module}
said = json.dumps([module, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
caller.sendall(len(said).to_bytes(4) + said)
code = int.from_bytes(caller.recv(2) or bytes([0, 70]), signed=True)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""
_SERVER, _SERVICE = "noetl-server", "noetl-service"

_wanted = False


def use_warm_programs() -> None:
    """Let ``warm_program`` start the loaded process when it is asked for the first time."""
    global _wanted  # noqa: PLW0603 -- of this process, as the loaded one is
    _wanted = True


def warm_program() -> Path | None:
    """Return a ``noetl-server`` that is a fork of a loaded process; None outside of tests.

    A fork ends with its caller, and gets SIGINT, SIGTERM and SIGHUP from it.
    """
    return _loaded() / _SERVER if _wanted else None


def warm_service() -> Path | None:
    """Return a program that runs the service whose module is its argument, in the same way."""
    return _loaded() / _SERVICE if _wanted else None


@cache
def _loaded() -> Path:
    """Start the process that loads everything once; it ends with this one.

    Returns:
        the folder of the programs that ask it for forks.
    """
    folder = Path(tempfile.mkdtemp(prefix="noetl-warm-"))
    path = folder / "socket"
    for name, module in ((_SERVER, "None"), (_SERVICE, "sys.argv.pop(1)")):
        caller = folder / name
        caller.write_text(_CALLER.format(python=sys.executable, path=str(path), module=module))
        caller.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "noetl_testkit.warm.parent", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(_end, process, folder)
    if process.stdout is None or process.stdout.readline() != b"ready\n":
        raise RuntimeError(f"the process with loaded programs ended with {process.wait()}")
    return folder


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=PATIENCE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
