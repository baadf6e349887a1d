"""Who makes the request that is being served, for what is asked of services on its behalf."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from noetl_contract.access.principal import Principal

_CALLER: ContextVar[Principal | None] = ContextVar("caller", default=None)


def caller() -> Principal | None:
    """Return the principal; None is the edge itself, or anybody where no login is needed."""
    return _CALLER.get()


def note_caller(principal: Principal | None) -> None:
    """Note the principal, for the task that serves the request."""
    _CALLER.set(principal)


@contextmanager
def as_the_edge() -> Iterator[None]:
    """Ask services for the edge itself until the block ends, whoever calls."""
    token = _CALLER.set(None)
    try:
        yield
    finally:
        _CALLER.reset(token)
