"""A typed client of the NoETL control plane, blocking and asynchronous."""

from noetl_client.async_client import AsyncClient
from noetl_client.client import Client
from noetl_client.connection import Connection, Retries
from noetl_client.errors import (
    BadAddress,
    Busy,
    ClientError,
    Conflict,
    ExecutionFailed,
    Forbidden,
    Invalid,
    LoginNeeded,
    NotEnded,
    NotFound,
    Refused,
    UnexpectedAnswer,
    Unreachable,
    WaitTimedOut,
)

__all__ = [
    "AsyncClient",
    "BadAddress",
    "Busy",
    "Client",
    "ClientError",
    "Conflict",
    "Connection",
    "ExecutionFailed",
    "Forbidden",
    "Invalid",
    "LoginNeeded",
    "NotEnded",
    "NotFound",
    "Refused",
    "Retries",
    "UnexpectedAnswer",
    "Unreachable",
    "WaitTimedOut",
]
