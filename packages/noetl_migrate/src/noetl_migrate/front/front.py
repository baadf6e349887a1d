"""The entry point of the edge."""

from typing import TYPE_CHECKING

from litestar import Litestar
from noetl_api_gateway.gateway import GatewayProcess
from noetl_api_gateway.http.shell import Application
from noetl_common.logging import get_logger

from noetl_migrate.front.settings import LegacySettings, check_address

if TYPE_CHECKING:
    from noetl_migrate.front.switch import Switch

_log = get_logger()


def create(inner: Application, table: Litestar, service: GatewayProcess) -> "Switch | None":
    """Return the switch to an existing server beside the routes; None where no setting names one.

    Args:
        inner: answers what that server doesn't.
        table: the routes here.
        service: the edge's process.

    Raises:
        ValueError: a setting has no sense.
    """
    edge, settings = service.gateway_settings, LegacySettings()
    patterns = settings.legacy_patterns()
    if not edge.legacy_url:
        if patterns:
            raise ValueError("NOETL_LEGACY_ROUTES needs NOETL_LEGACY_URL")
        return None
    check_address(edge.legacy_url)
    # They use parts of the edge, which an edge without such a server does not depend on here.
    from noetl_migrate.front.homes import Homes  # noqa: PLC0415 -- as above
    from noetl_migrate.front.proxy import LegacyServer  # noqa: PLC0415 -- as above
    from noetl_migrate.front.switch import Switch  # noqa: PLC0415 -- as above

    legacy = LegacyServer(edge.legacy_url, settings, most_bytes=edge.largest_body())
    _log.info("legacy_server", server=legacy.name, routes=settings.legacy_routes)
    return Switch(
        inner,
        table,
        Homes(lambda: service.opened_gateway().services),
        legacy,
        patterns=patterns,
        most_bytes=edge.max_body_bytes,
    )
