"""Answers with secrets, sealed for who asks: who may read the broker's messages reads none of them.

A request for a secret carries a public key, made for it alone, in a header; the whole answer comes
encrypted for that key. A service of the release before ignores the header and answers in clear.
"""

from collections.abc import Mapping

import orjson
from noetl_common.crypto.errors import BadKey, SealingFailed
from noetl_common.crypto.sealed import SealingKey, Unsealable, decode_public_key, seal
from noetl_common.errors import Unavailable
from noetl_contract.rpc import RpcReply, encode_reply

from noetl_bus.rpc.headers import SEAL_HEADER

_BAD_KEY = f"{SEAL_HEADER} is no public key"


class AnswerUnreadable(Unavailable):
    """A sealed answer that was not sealed for us, or changed on its way."""

    template = "the answer can't be opened: {reason}"


def sealed_answer(headers: Mapping[str, str] | None, body: bytes) -> bytes:
    """Return an answer sealed for the key in the request's headers, as it is without one."""
    text = (headers or {}).get(SEAL_HEADER)
    if text is None:
        return body
    try:
        recipient = decode_public_key(text, base64_text=_BAD_KEY, length_text=_BAD_KEY)
        return seal(body, recipient=recipient).model_dump_json().encode()
    except (BadKey, SealingFailed):
        return encode_reply(RpcReply(status=400, error=_BAD_KEY))


def opened_answer(key: SealingKey, data: bytes) -> bytes:
    """Return the answer inside an envelope; what came in clear as it is.

    Raises:
        AnswerUnreadable: it was sealed for another key, or changed on its way.
    """
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data  # its reader says so
    if not isinstance(answer, dict) or "ciphertext" not in answer:
        return data
    try:
        return key.open(answer)
    except Unsealable as error:
        raise AnswerUnreadable(reason=str(error)) from error
