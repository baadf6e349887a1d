"""`python -m noetl_api_gateway`."""

import asyncio
import signal
import sys
from types import FrameType

import uvicorn
from noetl_common.logging import configure

from noetl_api_gateway.app import create_app
from noetl_api_gateway.settings import Settings
from noetl_api_gateway.shell import Shell

__all__ = ["main"]


class _Server(uvicorn.Server):
    """Tells the application of the signal first: readiness fails and open streams end."""

    def __init__(self, config: uvicorn.Config, shell: Shell, *, drain_delay_seconds: float) -> None:
        super().__init__(config)
        self._shell = shell
        self._drain_delay_seconds = drain_delay_seconds
        self.has_failed = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Close after the drain delay on the first signal, at once on the second."""
        is_first = not self._shell.holder.closing.is_set()
        self._shell.begin_closing()
        if is_first and sig != signal.SIGINT and self._drain_delay_seconds > 0:
            loop = asyncio.get_running_loop()
            loop.call_later(self._drain_delay_seconds, super().handle_exit, sig, frame)
        else:
            super().handle_exit(sig, frame)

    def fail(self) -> None:
        """End the process with an exit code that lets its supervisor start another."""
        self.has_failed = True
        self.should_exit = True


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
    server = _Server(config, shell, drain_delay_seconds=settings.drain_delay_seconds)
    shell.holder.on_failure = server.fail
    server.run()
    if server.has_failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
