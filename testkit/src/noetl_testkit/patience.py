"""Clients that a test makes wait as long as the test does.

Their libraries give up after 0.5 to 10 s where the caller says nothing, and that a busy machine
takes longer is no failure. What the product gives its own clients stays as it is.
"""

import inspect
from collections.abc import Callable
from typing import Any

import httpx
from nats.aio.client import Client
from nats.js.client import JetStreamContext
from noetl.stack.servers.nats_probe import NatsProbe

from noetl_testkit.waiting import PATIENCE_SECONDS

_CALLS = ("request", "stream", "get", "options", "head", "post", "put", "patch", "delete")
_HASTY: tuple[tuple[Callable[..., Any], str], ...] = (
    *((getattr(httpx, name), "timeout") for name in _CALLS),
    (httpx.Client.__init__, "timeout"),
    (httpx.AsyncClient.__init__, "timeout"),
    (Client.connect, "connect_timeout"),
    (Client.request, "timeout"),
    (Client.flush, "timeout"),
    (JetStreamContext.__init__, "timeout"),
    (NatsProbe.__init__, "timeout_seconds"),
)


def use_patient_clients() -> None:
    """Give `PATIENCE_SECONDS` to every call of this process that names no time of its own."""
    for function, name in _HASTY:
        plain: Any = inspect.unwrap(function)
        if name in (plain.__kwdefaults__ or {}):
            plain.__kwdefaults__[name] = PATIENCE_SECONDS
        else:
            parameters = inspect.getfullargspec(plain).args[-len(plain.__defaults__) :]
            defaults = dict(zip(parameters, plain.__defaults__, strict=True))
            plain.__defaults__ = tuple((defaults | {name: PATIENCE_SECONDS}).values())
