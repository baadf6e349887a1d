"""Clients of the stack that asks for logins."""

from collections.abc import Iterator

import pytest
from noetl_testkit.stack import Stack

from .callers import Callers


@pytest.fixture
def caller(asking_stack: Stack) -> Iterator[Callers]:
    """Clients of that stack, one for each role."""
    made = Callers(asking_stack)
    yield made
    made.close()
