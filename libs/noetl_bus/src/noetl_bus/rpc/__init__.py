"""Request/reply between services, for requests that are safe to retry."""

from noetl_bus.rpc.client import RpcClient, RpcRefused, RpcUnavailable
from noetl_bus.rpc.handlers import Encoded, Handler, Handlers, answers, encoded, handle
from noetl_bus.rpc.rules import Listener, RawRequest
from noetl_bus.rpc.server import serve_rpc

__all__ = [
    "Encoded",
    "Handler",
    "Handlers",
    "Listener",
    "RawRequest",
    "RpcClient",
    "RpcRefused",
    "RpcUnavailable",
    "answers",
    "encoded",
    "handle",
    "serve_rpc",
]
