"""Request/reply between services: for answers that may be asked for again."""

from noetl_contract.ingress import deadline_of

from noetl_common.bus.rpc.client import RpcClient, RpcRefused, RpcUnavailable
from noetl_common.bus.rpc.handlers import Encoded, Handler, Handlers, answers, encoded, handle
from noetl_common.bus.rpc.headers import PATIENCE_HEADER
from noetl_common.bus.rpc.replies import encode_error, encode_reply
from noetl_common.bus.rpc.server import RpcHandler, serve_rpc

__all__ = [
    "PATIENCE_HEADER",
    "Encoded",
    "Handler",
    "Handlers",
    "RpcClient",
    "RpcHandler",
    "RpcRefused",
    "RpcUnavailable",
    "answers",
    "deadline_of",
    "encode_error",
    "encode_reply",
    "encoded",
    "handle",
    "serve_rpc",
]
