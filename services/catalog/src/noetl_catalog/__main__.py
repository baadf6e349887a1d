"""Run the catalog service: `python -m noetl_catalog`."""

from noetl_service.service import run_service

from noetl_catalog.app import create_app
from noetl_catalog.settings import Settings

if __name__ == "__main__":
    run_service(create_app, Settings(), name="catalog")
