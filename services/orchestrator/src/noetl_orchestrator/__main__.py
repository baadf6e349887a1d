"""``python -m noetl_orchestrator``."""

from noetl_service.service import run_service

from noetl_orchestrator.app import NAME, create_app
from noetl_orchestrator.settings import Settings

if __name__ == "__main__":
    run_service(create_app, Settings(), name=NAME)
