"""``python -m noetl_worker``."""

import os
import sys

from noetl_common.process.hiding import hide_from_scripts
from noetl_common.service import run_service

from noetl_worker.app import create_app
from noetl_worker.settings import Settings
from noetl_worker.subscriptions import app as subscriptions


def main() -> None:
    """Run the worker until a signal comes."""
    hide_from_scripts()
    settings = Settings()
    is_runtime = settings.worker_mode == "subscription"
    try:
        run_service(subscriptions.create_app if is_runtime else create_app, settings, name="worker")
    except SystemExit as end:
        # Python would wait for its threads, and a thread that reads from a dead mount never ends.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)


if __name__ == "__main__":
    main()
