"""A typed client of the NoETL control plane, blocking and asynchronous."""

from noetl_client.clients import AsyncClient, Client
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
