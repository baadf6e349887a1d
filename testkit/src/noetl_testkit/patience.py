"""Clients that a test makes wait longer than any machine is busy.

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

LOST_SECONDS = PATIENCE_SECONDS / 20
"""How long a request over NATS may take.

An outage takes one away without a sign, unlike one over HTTP, whose connection ends. Who waits for
the end of an outage then asks again, which must come before the test's own bound.
"""

_CALLS = ("request", "stream", "get", "options", "head", "post", "put", "patch", "delete")
_HASTY: tuple[tuple[Callable[..., Any], str, float], ...] = (
    *((getattr(httpx, name), "timeout", PATIENCE_SECONDS) for name in _CALLS),
    (httpx.Client.__init__, "timeout", PATIENCE_SECONDS),
    (httpx.AsyncClient.__init__, "timeout", PATIENCE_SECONDS),
    (NatsProbe.__init__, "timeout_seconds", PATIENCE_SECONDS),
    (Client.connect, "connect_timeout", PATIENCE_SECONDS),
    (Client.request, "timeout", LOST_SECONDS),
    (Client.flush, "timeout", LOST_SECONDS),
    (JetStreamContext.__init__, "timeout", LOST_SECONDS),
)


def use_patient_clients() -> None:
    """Give more time to every call of this process that names none of its own."""
    for function, name, seconds in _HASTY:
        plain: Any = inspect.unwrap(function)
        if name in (plain.__kwdefaults__ or {}):
            plain.__kwdefaults__[name] = seconds
        else:
            parameters = inspect.getfullargspec(plain).args[-len(plain.__defaults__) :]
            defaults = dict(zip(parameters, plain.__defaults__, strict=True))
            plain.__defaults__ = tuple((defaults | {name: seconds}).values())
