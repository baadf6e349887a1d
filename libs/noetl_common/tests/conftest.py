"""Fixtures that several files of tests share."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Restore the logging of the process after a test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    known = structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**known)
