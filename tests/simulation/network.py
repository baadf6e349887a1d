"""Connections between processes and the broker: bytes in order, late, cut off, or held up."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from tests.simulation.universe import Process, Universe


class Server(Protocol):
    """The other side of connections."""

    def accept(self, end: "Endpoint") -> bool:
        """Take a new connection; False if nobody listens."""

    def receive(self, end: "Endpoint", data: bytes) -> None:
        """Take bytes."""

    def lose(self, end: "Endpoint") -> None:
        """Note that a connection has ended."""


class Network:
    """The way to one server.

    Attributes:
        latency: from the shortest to the longest time of a piece of data, in seconds.
        holes: by the name of a process, until when nothing of it passes in either direction.
    """

    def __init__(self, universe: Universe, server: Server) -> None:
        self.universe = universe
        self.server = server
        self.latency = (0.0001, 0.002)
        self.holes: dict[str, float] = {}

    async def connect(self, process: Process, protocol: Any, _host: str, _port: int) -> "Endpoint":
        """Open a connection; refused where nobody listens."""
        await asyncio.sleep(self.pause())
        while self.holes.get(process.name, 0.0) > self.universe.now:
            await asyncio.sleep(self.holes[process.name] - self.universe.now)
        end = Endpoint(self, process, protocol)
        if not self.server.accept(end):
            raise ConnectionRefusedError("nobody listens")
        process.endpoints[end] = None
        process.call_soon(protocol.connection_made, end)
        return end

    def pause(self) -> float:
        """Return how long a piece of data is on its way."""
        shortest, longest = self.latency
        return shortest + (longest - shortest) * self.universe.random.random() ** 3

    def cut(self, name: str) -> None:
        """Reset the connections of a process."""
        for process in self.universe.processes:
            if process.name == name and process.is_alive:
                for end in list(process.endpoints):
                    end.reset()


class Endpoint(asyncio.Transport):
    """A process's side of one connection, as the transport of its protocol."""

    def __init__(self, network: Network, process: Process, protocol: Any) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.protocol = protocol
        self.is_open = True
        self._closing = False
        self._last_there = self._last_back = 0.0
        self.acknowledged = self.received = 0

    # -- the process writes --------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self.is_open and not self._closing and self.process.is_alive and data:
            sent = bytes(data)
            self._last_there = self._deliver(self._last_there, lambda: self._has_arrived(sent))

    def _has_arrived(self, sent: bytes) -> None:
        self.acknowledged += len(sent)
        self.network.server.receive(self, sent)

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._last_there = self._deliver(self._last_there, self._end)

    abort = close

    def is_closing(self) -> bool:
        return self._closing or not self.is_open

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    # -- the server writes ---------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes to the process."""
        if self.is_open:
            self._last_back = self._deliver(
                self._last_back,
                lambda: self.process.arrives(lambda: self._received(data)),
            )

    def reset(self) -> None:
        """Break the connection; what is on its way is lost."""
        if self.is_open:
            self._end()

    def _received(self, data: bytes) -> None:
        if self.is_open and not self._closing:
            self.received += len(data)
            self.protocol.data_received(data)

    def _end(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self.process.endpoints.pop(self, None)
        self.network.server.lose(self)
        error = None if self._closing else ConnectionResetError("the connection was reset")
        self.process.arrives(lambda: self.protocol.connection_lost(error))

    def _deliver(self, last: float, act: Callable[[], None]) -> float:
        universe = self.network.universe
        when = max(last, universe.now + self.network.pause())

        def arrive() -> None:
            hole = self.network.holes.get(self.process.name, 0.0)
            if hole > universe.now:
                universe.at(hole, arrive)
            elif self.is_open:
                act()

        universe.at(when, arrive)
        return when
