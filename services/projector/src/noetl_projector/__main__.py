"""Runs the projector service: `python -m noetl_projector`."""

from noetl_service.service import run_service

from noetl_projector.app import create_app
from noetl_projector.settings import Settings

if __name__ == "__main__":
    run_service(create_app, Settings(), name="projector")
