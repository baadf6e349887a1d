"""``python -m noetl_worker``."""

from noetl_common.process.program import hide_from_scripts
from noetl_service.service import run_service

from noetl_worker.app import create_app
from noetl_worker.settings import Settings
from noetl_worker.subscriptions import app as subscriptions


def main() -> None:
    """Run the worker until a signal comes."""
    hide_from_scripts()
    settings = Settings()
    is_runtime = settings.worker_mode == "subscription"
    run_service(subscriptions.create_app if is_runtime else create_app, settings, name="worker")


if __name__ == "__main__":
    main()
