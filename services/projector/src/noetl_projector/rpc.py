"""Refusals of requests."""

from noetl_contract.rpc import RpcReply


def refused(status: int, text: str) -> RpcReply:
    """Build the answer to a request that is not met."""
    return RpcReply(status=status, error=text)
