"""The shared stack and a client of its edge, for the whole folder."""

from collections.abc import Iterator

import httpx
import pytest
from noetl_testkit.stack import Stack


@pytest.fixture(scope="module")
def stack(guarded_stack: Stack) -> Stack:
    """A stack with a token for the internal routes."""
    return guarded_stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[httpx.Client]:
    """A client of its edge."""
    with stack.client() as opened:
        yield opened
