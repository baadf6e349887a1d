"""The process that has loaded everything: ``python -m noetl_testkit.warm.parent SOCKET``.

Each caller at its socket names a command line, and gets a fork that runs it.
"""

import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import entry_points

from noetl.stack.services import MODULES

from noetl_testkit.warm.forked import Forks, Start, fork
from noetl_testkit.warm.measured import Loading

_COMMANDS = ("noetl.main", "noetl.follow.job", "noetl.stack.supervisor", "noetl.worker")
_LATER = {
    "noetl_bus.rpc.faststream": "noetl_bus.rpc.server",
    "noetl_client": "noetl.main",
    "httpcore": "httpx",
    "uvicorn.lifespan.on": "uvicorn",
    "uvicorn.protocols.http.httptools_impl": "uvicorn",
}
"""Modules that others load only at the start of their work, each with its importer."""
_PARTS = ("settings", "app", "__main__")


def serve(path: str) -> None:
    """Load everything, say that it is ready, and fork until killed."""
    with Loading() as loading:
        for module in _COMMANDS:
            loading.load(module)
        for module in MODULES.values():
            for part in _PARTS:
                loading.load(f"{module}.{part}")
            # Is run anew in each fork.
            del sys.modules[f"{module}.__main__"]
        for module, by in _LATER.items():
            loading.load(module, by=by)
        for tool in entry_points(group="noetl.tools"):
            loading.load(tool.module, by="noetl_worker.app")
    Forks.loading = loading
    # In this process, for the services that stacks start.
    setattr(subprocess, "Popen", Forks)  # noqa: B010 -- a type checker doesn't let us say it
    gc.collect()
    gc.freeze()
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
                try:
                    _answer(caller)
                finally:
                    os._exit(0)
            caller.close()


def _answer(caller: socket.socket) -> None:
    """Run one command, pass signals on to it, and send its caller the exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, _, _ = socket.recv_fds(caller, 1, 3)
    size = int.from_bytes(caller.recv(4, socket.MSG_WAITALL))
    module, arguments, folder, environment = json.loads(caller.recv(size, socket.MSG_WAITALL))
    start = Start(
        module=module,
        arguments=arguments,
        files=(files[0], files[1], files[2]),
        environment=environment,
        folder=folder,
    )
    pid = fork(start)
    for file in files:
        os.close(file)
    _watch(caller, pid)
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        caller.sendall(os.waitstatus_to_exitcode(status).to_bytes(2, signed=True))


def _watch(caller: socket.socket, pid: int) -> None:
    """Return when the command has ended; it is killed when its caller is."""
    ended = os.pidfd_open(pid)
    with selectors.DefaultSelector() as waiting:
        waiting.register(ended, selectors.EVENT_READ)
        waiting.register(caller, selectors.EVENT_READ)
        while not any(key.fd == ended for key, _ in waiting.select()):
            with suppress(ConnectionError):
                if number := caller.recv(1):
                    os.kill(pid, number[0])
                    continue
            os.kill(pid, signal.SIGKILL)
            return


if __name__ == "__main__":
    serve(sys.argv[1])
