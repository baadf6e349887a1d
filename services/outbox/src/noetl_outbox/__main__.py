"""Run the outbox relay: `python -m noetl_outbox`."""

from noetl_service.service import run_service

from noetl_outbox.app import create_app
from noetl_outbox.settings import Settings

if __name__ == "__main__":
    run_service(create_app, Settings(), name="outbox")
