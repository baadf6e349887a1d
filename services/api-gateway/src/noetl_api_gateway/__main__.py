"""`python -m noetl_api_gateway`."""

import asyncio
import signal
from types import FrameType

import uvicorn
from noetl_common.logging import configure

from noetl_api_gateway.app import create_app
from noetl_api_gateway.settings import Settings
from noetl_api_gateway.shell import Shell

__all__ = ["main"]


class _Server(uvicorn.Server):
    """Tells the application of the signal first: readiness fails and open streams end."""

    def __init__(self, config: uvicorn.Config, shell: Shell, *, drain_delay: float) -> None:
        super().__init__(config)
        self._shell = shell
        self._drain_delay = drain_delay

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Close at once on the second signal, after the drain delay on the first."""
        self._shell.begin_closing()
        if self._drain_delay <= 0 or sig == signal.SIGINT or self.should_exit:
            super().handle_exit(sig, frame)
            return
        loop = asyncio.get_event_loop()
        loop.call_later(self._drain_delay, super().handle_exit, sig, frame)
        self._drain_delay = 0


def main() -> None:
    """Serve until a signal."""
    settings = Settings()
    configure(settings, "api-gateway")
    shell = create_app(settings)
    config = uvicorn.Config(
        shell,
        host=settings.http_host,
        port=settings.http_port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.shutdown_grace_seconds),
    )
    _Server(config, shell, drain_delay=settings.drain_delay_seconds).run()


if __name__ == "__main__":
    main()
