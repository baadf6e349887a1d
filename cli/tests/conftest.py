"""Fixtures of the supervisor's tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from placeholder_harness import PlaceholderStack


@pytest.fixture
def stopped_stack(tmp_path: Path) -> Iterator[PlaceholderStack]:
    """A stack that has not been started; processes that the test starts are stopped after it."""
    stack = PlaceholderStack(tmp_path)
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def lasting_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlaceholderStack]:
    """A running stack for all tests of a file that leave it running."""
    stack = PlaceholderStack(tmp_path_factory.mktemp("lasting"))
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def stack(stopped_stack: PlaceholderStack) -> PlaceholderStack:
    """A running stack."""
    stopped_stack.start()
    return stopped_stack
