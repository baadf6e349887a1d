"""One stack for the whole folder, with a token for the internal routes."""

import base64
from collections.abc import Iterator

import httpx
import pytest
from golden import TOKEN
from stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A running stack; tests leave each other's executions and paths alone."""
    settings = {
        "NOETL_INTERNAL_API_TOKEN": TOKEN,
        "NOETL_ENCRYPTION_KEY": base64.b64encode(bytes(range(32))).decode(),
    }
    with running_stack(environment=settings) as running:
        yield running


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[httpx.Client]:
    """A client of its edge."""
    with stack.client() as opened:
        yield opened
