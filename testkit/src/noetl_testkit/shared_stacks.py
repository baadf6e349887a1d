"""Stacks that several test files use, one at a time: started on first use, stopped after the last.

A test names the configuration through the fixture it asks for, so that the tests of one
configuration can be run one after the other in one process.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import pytest

from noetl_testkit.stack import Stack

__all__ = ["FIXTURES", "TRANSPORTS", "SharedStacks", "stack_of"]

FIXTURES = {
    "nats_stack": "nats",
    "guarded_stack": "guarded",
    "edge_stack": "edge",
    "asking_stack": "asking",
}
"""Fixtures with the configuration that they give."""
TRANSPORTS = "transport_stack"
"""The fixture that runs a test once for each transport of the workers."""


def stack_of(item: pytest.Item | None) -> str | None:
    """Return the configuration of the shared stack that a test uses, None if it uses none."""
    if not isinstance(item, pytest.Function):
        return None
    if TRANSPORTS in item.fixturenames:
        return str(item.callspec.params[TRANSPORTS])
    return next((name for fixture, name in FIXTURES.items() if fixture in item.fixturenames), None)


class SharedStacks:
    """At most one running stack, of the configuration asked for last."""

    def __init__(self, start: Callable[[str], AbstractContextManager[Stack]]) -> None:
        self._start = start
        self._current: tuple[str, Stack] | None = None
        self._running = ExitStack()

    def get(self, name: str) -> Stack:
        """Return the stack of a configuration; start it unless it runs."""
        if self._current is None or self._current[0] != name:
            self.close()
            self._current = (name, self._running.enter_context(self._start(name)))
        return self._current[1]

    def close(self) -> None:
        """Stop the stack that runs, if any."""
        self._current = None
        self._running.close()
