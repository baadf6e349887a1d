"""A real RabbitMQ, where the machine has one: no Python package brings it."""

import os
import shutil
import socket
from pathlib import Path

from noetl.stack.process import free_port

from noetl_testkit.brokers.program import Program
from noetl_testkit.waiting import PATIENCE_SECONDS


def has_rabbitmq() -> bool:
    """Return whether this machine has the server, which Debian calls `rabbitmq-server`."""
    return _program() is not None


class RabbitServer(Program):
    """A node of its own, with its files in a folder."""

    def __init__(self, folder: Path) -> None:
        program = _program()
        if program is None:
            raise RuntimeError("there is no rabbitmq-server on this machine")
        self.port = free_port()
        distribution = free_port()
        settings = folder / "rabbitmq.conf"
        settings.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nloopback_users = none\n"
            "vm_memory_high_watermark.absolute = 512MB\ndisk_free_limit.absolute = 50MB\n"
        )
        environment = {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"noetl{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +A 4",
        }
        super().__init__(
            [program], log=folder / "rabbitmq.log", is_ready=self._answers, environment=environment
        )

    @property
    def url(self) -> str:
        """The address, with the login of every new node."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def kill(self) -> None:
        """Kill the node: the program is a script around it."""
        super().kill()
        for status in Path("/proc").glob("[0-9]*/environ"):
            mine = f"RABBITMQ_NODENAME=noetl{self.port}@localhost".encode()
            try:
                if mine in status.read_bytes():
                    os.kill(int(status.parent.name), 9)
            except OSError:
                continue

    def _answers(self) -> bool:
        try:
            with socket.create_connection(
                ("127.0.0.1", self.port), timeout=PATIENCE_SECONDS
            ) as connection:
                connection.settimeout(PATIENCE_SECONDS)
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False


def _program() -> str | None:
    place = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    # The one on the path wants to be started as the user of the system's own node.
    return str(place) if place.exists() else shutil.which("rabbitmq-server")
