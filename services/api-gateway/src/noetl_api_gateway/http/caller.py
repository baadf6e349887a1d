"""The caller of the request that is being served, for requests to services on its behalf."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from noetl_contract.access.principal import Principal

_CALLER: ContextVar[Principal | None] = ContextVar("caller", default=None)


def caller() -> Principal | None:
    """Return the caller; None for the edge itself, or where no login is needed."""
    return _CALLER.get()


def note_caller(principal: Principal | None) -> None:
    """Note the caller, for the task that serves the request."""
    _CALLER.set(principal)


@contextmanager
def as_the_edge() -> Iterator[None]:
    """Ask services as the edge itself, not as the caller, until the block ends."""
    token = _CALLER.set(None)
    try:
        yield
    finally:
        _CALLER.reset(token)
