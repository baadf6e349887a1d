"""Runs commands of ours in forks of one process that has loaded all they need.

The pages have some fifty of them, and loading the command line takes most of a second of a
processor each time. What a command does is what ``noetl-server`` does in a process of its own: it
has the arguments, folder, environment and terminal of who calls it. By hand: ``warm.py SOCKET``.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOADED = ("noetl.main", "noetl.follow.job", "noetl_client", "httpx")
_CALLER = """#!{python} -IS
import json, os, socket, sys
caller = socket.socket(socket.AF_UNIX)
caller.connect({path!r})
socket.send_fds(caller, [b"-"], [0, 1, 2])
said = [sys.argv[1:], os.getcwd(), dict(os.environ)]
caller.sendall(json.dumps(said).encode())
caller.shutdown(socket.SHUT_WR)
sys.exit(int(caller.recv(8) or b"70"))
"""


@contextmanager
def warm_commands(folder: Path) -> Iterator[Path]:
    """Give a folder for ``PATH`` whose ``noetl-server`` is a fork of a process of this block."""
    path = folder / "socket"
    caller = folder / "bin" / "noetl-server"
    caller.parent.mkdir(parents=True)
    caller.write_text(_CALLER.format(python=sys.executable, path=str(path)))
    caller.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, __file__, str(path)], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield caller.parent
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def _serve(path: str) -> None:
    for name in _LOADED:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            caller, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _answer(caller)
                os._exit(0)
            caller.close()


def _answer(caller: socket.socket) -> None:
    """Run one command, and tell its caller the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, _, _ = socket.recv_fds(caller, 1, 3)
    text = b""
    while part := caller.recv(1 << 16):
        text += part
    arguments, folder, environment = json.loads(text)
    command = os.fork()
    if command == 0:
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv = ["noetl-server", *arguments]
        _run()
    for file in files:
        os.close(file)
    _, status = os.waitpid(command, 0)
    with suppress(BrokenPipeError):
        caller.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())


def _run() -> None:
    from noetl.main import main  # noqa: PLC0415 (loaded by now)

    code: object = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _serve(sys.argv[1])
