"""Start, signal and find processes; find free ports."""

import os
import secrets
import shutil
import signal
import socket
import sys
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from noetl.stack.errors import StackError

PROC = Path("/proc")
FIRST_PORT, LAST_PORT = 15_000, 32_000
_MOST_CLAIMS = 64
_claims: deque[int] = deque()
"""Descriptors that hold the ports given last."""


def with_parent_death(
    argv: Sequence[str], *, signal_name: str, user_switch: Sequence[str] = ()
) -> list[str]:
    """Return the command line that makes a process end when its parent does.

    The kernel ties the signal to the *thread* that started the child: start children from the
    main thread. It also forgets the signal when credentials change, so a switch of user or user
    namespace has to come before it.

    Args:
        argv: the program and its arguments.
        signal_name: what the process gets when its parent dies (`KILL`, `INT`, `TERM`).
        user_switch: words that start a program as another user, ending before the program.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        # Elsewhere a killed supervisor leaves its children; the next start clears them away.
        return [*user_switch, *argv]
    return [*user_switch, setpriv, "--pdeathsig", signal_name, *argv]


def free_port(host: str = "127.0.0.1", *, taken: Collection[int] = ()) -> int:
    """Return a free TCP port, none of those in `taken` nor one that was given a moment ago.

    Below the range from which the kernel gives ports to outgoing connections: there a server that
    restarts could find its port taken, by one of its own waiting clients for example.
    """
    for _ in range(1000):
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
        if port not in taken and is_port_free(port, host) and _claim(port):
            return port
    raise StackError(f"no free port between {FIRST_PORT} and {LAST_PORT}")


def _claim(port: int) -> bool:
    """Keep a port from other callers of `free_port` on this machine, until a server listens there.

    By a name that the kernel gives once, and forgets with the process.
    """
    if sys.platform != "linux":
        return True
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(f"\0noetl-port-{port}")
        except OSError:
            return False
        _claims.append(claim.detach())
    if len(_claims) > _MOST_CLAIMS:
        os.close(_claims.popleft())
    return True


def is_port_free(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a server could listen on the port; connections that linger count as free."""
    return trouble_with_port(port, host) is None


def trouble_with_port(port: int, host: str) -> OSError | None:
    """Return the error that a server listening there would meet; None when it could listen."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def birth(pid: int) -> str | None:
    """Return a token that distinguishes two processes with the same pid; None without a process.

    Zombies count as gone. Without `/proc` the token only says that the process exists.
    """
    if not PROC.is_dir():
        return "alive" if _exists(pid) else None
    fields = _stat(pid)
    return fields[_BIRTH] if fields else None


def session_members(leader: int) -> list[int]:
    """Living processes of the session that a process started; itself included while it lives."""
    members = []
    for pid in _pids():
        fields = _stat(pid)
        if fields and fields[_SESSION] == str(leader):
            members.append(pid)
    return members


def processes_in(folder: Path, *, name: str) -> Iterator[int]:
    """Yield processes of that name that work inside `folder`; none without `/proc`."""
    wanted = os.path.realpath(folder)
    for pid in _pids():
        entry = PROC / str(pid)
        try:
            if (entry / "comm").read_text().strip() != name:
                continue
            if str((entry / "cwd").readlink()) == wanted and birth(pid) is not None:
                yield pid
        except OSError:
            continue  # it ended meanwhile, or is somebody else's


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


# Places in /proc/PID/stat, counted behind the program's name, which may hold spaces.
_SESSION, _BIRTH = 3, 19


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields


def _pids() -> Iterator[int]:
    if PROC.is_dir():
        yield from (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
