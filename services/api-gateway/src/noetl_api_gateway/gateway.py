"""`Gateway`: the object that handlers get, with bus, ids, writer and clients of services."""

import asyncio
from dataclasses import dataclass, field

from litestar.di import NamedDependency
from noetl_bus.broker import Bus
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.catalog.entries import UiSchema
from noetl_service.service import Service

from noetl_api_gateway.access.deliveries import DeliveryCheck
from noetl_api_gateway.access.gatekeeper import Gatekeeper
from noetl_api_gateway.access.memory import Memory
from noetl_api_gateway.http.refusals import unavailable
from noetl_api_gateway.intake.streams import StreamPlaces
from noetl_api_gateway.process_figures import ProcessFigures
from noetl_api_gateway.settings import Settings
from noetl_api_gateway.upstream.health import HealthProbe
from noetl_api_gateway.upstream.listeners import Listeners
from noetl_api_gateway.upstream.output_watches import OutputWatches
from noetl_api_gateway.upstream.pages.requests import PageRequests
from noetl_api_gateway.upstream.pages.states import StateFeed
from noetl_api_gateway.upstream.services import Services
from noetl_api_gateway.upstream.writes import IngressWriter

_MOST_FORMS = 2000


@dataclass(slots=True)
class Gateway:
    """The open parts of a running edge."""

    settings: Settings
    bus: Bus
    ids: SnowflakeIds
    writer: IngressWriter
    services: Services
    probe: HealthProbe
    closing: asyncio.Event
    places: StreamPlaces
    listeners: Listeners
    deliveries: DeliveryCheck
    watches: OutputWatches
    gatekeeper: Gatekeeper | None = None
    states: StateFeed = field(init=False)
    pages: PageRequests = field(init=False)
    waiting_calls: int = 0
    """Calls of tools (`/mcp`) that wait for their executions."""
    tool_forms: Memory[str, UiSchema] = field(default_factory=lambda: Memory(_MOST_FORMS))
    """Forms of the playbooks that are offered as tools, by catalog id."""

    def __post_init__(self) -> None:
        self.states = StateFeed(self.bus)
        self.pages = PageRequests(self.bus)


class GatewayProcess(Service):
    """The process, and its parts once they are open: the port answers before that."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("api-gateway", settings)
        self.gateway_settings = settings
        self.closing = asyncio.Event()
        self.figures = ProcessFigures()
        self.gateway: Gateway | None = None
        self.gatekeeper: Gatekeeper | None = None

    def drain(self) -> None:
        """Fail readiness and end open streams; requests are served on."""
        super().drain()
        self.closing.set()

    def opened_gateway(self) -> Gateway:
        """Return the open parts.

        Raises:
            Refusal: 503 while the broker or the catalog service is awaited.
        """
        if self.gateway is None:
            raise unavailable("The service is starting and waits for its dependencies")
        return self.gateway


OpenGateway = NamedDependency[Gateway]
TheProcess = NamedDependency[GatewayProcess]
"""Types of handlers' parameters."""
