"""A client that keeps no rules: raw sockets, and a witness that keeps them."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_for


def connect(stack: Stack, *, room: int | None = None) -> socket.socket:
    """Open a connection to the edge; ``room`` bounds the kernel's buffer for us."""
    client = socket.socket()
    if room is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    client.settimeout(PATIENCE_SECONDS)
    client.connect(("127.0.0.1", stack.port))
    return client


def ask(stack: Stack, sent: bytes) -> bytes:
    """Send bytes and return all that comes until the edge closes the connection."""
    with connect(stack) as client:
        with contextlib.suppress(OSError):
            client.sendall(sent)
        return rest(client)


def rest(client: socket.socket) -> bytes:
    """Return the bytes that still come; the edge has to close the connection in time."""
    received = b""
    client.settimeout(PATIENCE_SECONDS)
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            received += piece
    return received


def status_of(answer: bytes) -> int:
    """Return the status of an answer; 0 for a connection that was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def pump(client: socket.socket, piece: bytes, *, most: int) -> int:
    """Send the same bytes again and again until the edge won't; return how many went out."""
    sent = 0
    client.settimeout(PATIENCE_SECONDS)
    with contextlib.suppress(OSError, ssl.SSLError):
        while sent < most:
            client.sendall(piece)
            sent += len(piece)
    return sent


def until_answered(client: socket.socket) -> bytes:
    """Send one byte after the other until the edge says something; empty if it only hangs up."""
    client.settimeout(0.1)

    def answer() -> bytes | None:
        with contextlib.suppress(OSError):
            client.sendall(b"a")
        try:
            return client.recv(65536)
        except TimeoutError:
            return None
        except OSError:
            return b""

    return wait_for(answer, what="the edge waits no longer", every_seconds=0)


def edge_memory(stack: Stack) -> int:
    """Return the resident bytes of the edge."""
    status = Path(f"/proc/{stack.services()['api-gateway']['pid']}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


@dataclass
class Witness:
    """Another client, which asks again and again."""

    answers: int = 0
    failures: list[str] = field(default_factory=list)

    def was_served(self) -> bool:
        """Return whether each request was answered well, and there was one."""
        return bool(self.answers) and not self.failures


@contextlib.contextmanager
def watched(stack: Stack, ask_once: Callable[[httpx.Client], httpx.Response]) -> Iterator[Witness]:
    """Let a witness work beside the block."""
    witness = Witness()
    over = threading.Event()

    def work() -> None:
        with stack.client() as client:
            while True:
                try:
                    ask_once(client).raise_for_status()
                except httpx.HTTPError as error:
                    witness.failures.append(repr(error))
                witness.answers += 1
                if over.wait(0.02):
                    return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield witness
    finally:
        over.set()
        thread.join(PATIENCE_SECONDS)


def list_executions(client: httpx.Client) -> httpx.Response:
    """Send the request of a witness."""
    return client.get("/api/executions", params={"limit": 1})
