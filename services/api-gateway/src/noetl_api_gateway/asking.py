"""Questions that are asked once, because asking twice could do something twice."""

from typing import Any

from noetl_common.bus.rpc import RpcClient, RpcUnavailable
from noetl_contract.rpc import RpcReply

from noetl_api_gateway.edge import Edge
from noetl_api_gateway.refusals import unavailable

__all__ = ["ask_once"]

type Json = Any


async def ask_once(
    edge: Edge, subject: str, request: dict[str, Json], *, patience_seconds: float
) -> RpcReply:
    """Ask a service once; one that is starting is waited for.

    Raises:
        Refusal: 503, no answer in time; whether the work was done is unknown.
    """
    try:
        return await RpcClient(edge.bus).call(
            subject, request, timeout=patience_seconds, wait_for_responder=True
        )
    except RpcUnavailable as error:
        service = subject.split(".")[1]
        raise unavailable(f"The {service} service did not answer in time") from error
