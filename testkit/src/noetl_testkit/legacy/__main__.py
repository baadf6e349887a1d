"""`python -m noetl_testkit.legacy`: prints its address and answers until it is killed."""

import signal
import sys

from noetl_testkit.legacy.server import LegacyServer
from noetl_testkit.web import serving


def main() -> None:
    """Serve until SIGTERM."""
    with serving(LegacyServer().answer) as web:
        sys.stdout.write(f"{web.url}\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
