"""Answers of orchestrators to writes."""

from msgspec import Raw, ValidationError
from noetl_contract.rpc import RpcReply, decode_reply


def read_bare(data: bytes) -> RpcReply:
    """Return the reply of a body alone; only a refusal comes with an envelope, a number in it.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return decode_reply(data)
    except ValidationError:
        return RpcReply(raw_body=Raw(data))
