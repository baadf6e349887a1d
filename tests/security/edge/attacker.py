"""A client that keeps no rules: raw sockets, and a witness who keeps them."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from noetl_testkit.stack import Stack

PATIENCE = 20.0
"""Seconds after which the edge counts as not having answered."""


def connect(stack: Stack, *, room: int | None = None) -> socket.socket:
    """Open a connection to the edge; ``room`` bounds what the kernel keeps for us."""
    client = socket.socket()
    if room is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    client.settimeout(PATIENCE)
    client.connect(("127.0.0.1", stack.port))
    return client


def ask(stack: Stack, sent: bytes) -> bytes:
    """Send bytes and return all that comes until the edge closes the connection."""
    with connect(stack) as client:
        with contextlib.suppress(OSError):
            client.sendall(sent)
        return rest(client)


def rest(client: socket.socket) -> bytes:
    """Return what still comes; the edge has to close the connection in time."""
    received = b""
    client.settimeout(PATIENCE)
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
    client.settimeout(PATIENCE)
    with contextlib.suppress(OSError, ssl.SSLError):
        while sent < most:
            client.sendall(piece)
            sent += len(piece)
    return sent


def edge_memory(stack: Stack) -> int:
    """Return the resident bytes of the edge."""
    status = Path(f"/proc/{stack.services()['api-gateway']['pid']}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


@dataclass
class Witness:
    """Another client, who asks again and again."""

    waits: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def was_served(self) -> bool:
        """Whether each request was answered well, and there was one."""
        return bool(self.waits) and not self.failures

    @property
    def longest(self) -> float:
        """The longest wait in seconds."""
        return max(self.waits)


@contextlib.contextmanager
def watched(stack: Stack, ask_once: Callable[[httpx.Client], httpx.Response]) -> Iterator[Witness]:
    """Let a witness work beside the block."""
    witness = Witness()
    over = threading.Event()

    def work() -> None:
        with stack.client() as client:
            while True:
                began = time.monotonic()
                try:
                    ask_once(client).raise_for_status()
                except httpx.HTTPError as error:
                    witness.failures.append(repr(error))
                witness.waits.append(time.monotonic() - began)
                if over.wait(0.02):
                    return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield witness
    finally:
        over.set()
        thread.join(60)


def list_executions(client: httpx.Client) -> httpx.Response:
    """What a witness asks."""
    return client.get("/api/executions", params={"limit": 1})
