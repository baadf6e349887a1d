"""Answers of orchestrators to writes."""

import orjson
from noetl_common.bus.rpc.replies import unread_body
from noetl_contract.model import unchecked
from noetl_contract.rpc import RpcReply


def read_reply(data: bytes, *, is_passed_on: bool) -> RpcReply:
    """Return the reply in an answer.

    The body of a good one that ``is_passed_on`` stays as it came, as bytes of JSON.
    """
    unread = unread_body(data) if is_passed_on else None
    if unread is not None:
        return unchecked(RpcReply, status=200, body=unread)
    return RpcReply.model_validate_json(data)


def read_bare(data: bytes) -> RpcReply:
    """Return the reply of a body alone; only a refusal comes with an envelope, a number in it."""
    body = orjson.loads(data)
    if isinstance(body, dict) and isinstance(body.get("status"), int):
        return RpcReply.model_validate(body)
    return RpcReply(status=200, body=body)
