"""Subjects of the catalog's operations, and refusals."""

from noetl_common.bus.rpc import RpcHandler
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject


def by_subject(handlers: dict[str, RpcHandler]) -> dict[str, RpcHandler]:
    """Return handlers by the subjects of their operations."""
    return {rpc_subject("catalog", name): handler for name, handler in handlers.items()}


def refused(status: int, text: str) -> RpcReply:
    """Build the answer to a request that is not met."""
    return RpcReply(status=status, error=text)
