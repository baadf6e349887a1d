"""What handlers need, opened once: the connection, the ids, the writer, the services."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from litestar.di import NamedDependency
from noetl_common.bus.broker import Bus
from noetl_common.ids import SnowflakeIds

from noetl_api_gateway.health import HealthProbe
from noetl_api_gateway.refusals import unavailable
from noetl_api_gateway.services import Services
from noetl_api_gateway.settings import Settings
from noetl_api_gateway.writes import IngressWriter

__all__ = ["Edge", "EdgeHolder", "OpenEdge", "TheHolder"]


@dataclass(slots=True)
class Edge:
    """The open parts of a running edge."""

    settings: Settings
    bus: Bus
    ids: SnowflakeIds
    writer: IngressWriter
    services: Services
    probe: HealthProbe
    closing: asyncio.Event
    open_streams: int = 0


@dataclass(slots=True)
class EdgeHolder:
    """Holds the edge once it is open: the process answers `/health` before that."""

    settings: Settings
    edge: Edge | None = None
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    on_failure: Callable[[], None] | None = None

    def get(self) -> Edge:
        """Return the open edge.

        Raises:
            Refusal: 503 while the broker or the catalog service is awaited.
        """
        if self.edge is None:
            raise unavailable("The service is starting and waits for its dependencies")
        return self.edge


OpenEdge = NamedDependency[Edge]
TheHolder = NamedDependency[EdgeHolder]
"""How handlers name them as parameters."""
