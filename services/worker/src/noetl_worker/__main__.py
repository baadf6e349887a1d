"""``python -m noetl_worker``."""

from noetl_common.service import run_service

from noetl_worker.app import create_app
from noetl_worker.hiding import hide_from_scripts
from noetl_worker.settings import Settings


def main() -> None:
    """Run the worker until a signal comes."""
    hide_from_scripts()
    run_service(create_app, Settings(), name="worker")


if __name__ == "__main__":
    main()
