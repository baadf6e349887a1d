"""`python -m noetl_api_gateway`."""

import asyncio
import ssl
import sys

import uvloop
from noetl_common.logging import configure
from noetl_common.process.program import ending_at_once, hide_from_scripts
from noetl_common.telemetry.tracing import traced_process
from noetl_service.server import allow_connections, serve, server_config

from noetl_api_gateway.app import create_app
from noetl_api_gateway.settings import Settings


async def run(settings: Settings) -> int:
    """Serve until a signal or a failure; return the exit code.

    SIGTERM fails readiness first and closes the port after the drain delay, because load
    balancers notice late, and a refused connection ends a worker. SIGINT and a second signal
    close at once.
    """
    shell = create_app(settings)
    limits = settings.intake_limits(allow_connections(settings.max_connections))
    config = server_config(
        shell,
        limits,
        host=settings.http_host,
        port=settings.http_port,
        grace_seconds=settings.shutdown_grace_seconds,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
        ssl_ca_certs=settings.tls_client_ca or None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
    )
    return await serve(
        config,
        shell.service,
        drain_delay_seconds=settings.drain_delay_seconds,
        handshake_seconds=limits.head_seconds,
    )


def main() -> None:
    """Serve, and exit with the exit code."""
    hide_from_scripts()
    settings = Settings()
    configure(settings, "api-gateway")
    with ending_at_once():
        with (
            traced_process(settings, "api-gateway", revision=settings.build_revision),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            code = runner.run(run(settings))
        sys.exit(code)


if __name__ == "__main__":
    main()
