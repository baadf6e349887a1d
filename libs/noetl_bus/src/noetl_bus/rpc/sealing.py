"""Sealed answers, so that readers of the broker's messages can't read secrets.

A header of a request for a secret contains a public key that was generated for this request. The
whole answer is encrypted for this key.
"""

from collections.abc import Mapping

import orjson
from noetl_common.crypto.errors import BadKey, SealingFailed
from noetl_common.crypto.sealed import SealingKey, Unsealable, decode_public_key, seal
from noetl_common.errors import Unavailable
from noetl_contract.rpc import RpcReply, encode_reply

from noetl_bus.rpc.headers import SEAL_HEADER

_BAD_KEY = f"{SEAL_HEADER} is not a valid public key"


class AnswerUnreadable(Unavailable):
    """An answer that was sealed for another key, or changed on its way."""

    template = "the answer can't be opened: {reason}"


def sealed_answer(headers: Mapping[str, str] | None, body: bytes) -> bytes:
    """Return the answer, sealed for the key in the request's headers if there is one."""
    text = (headers or {}).get(SEAL_HEADER)
    if text is None:
        return body
    try:
        recipient = decode_public_key(text, base64_text=_BAD_KEY, length_text=_BAD_KEY)
        return seal(body, recipient=recipient).model_dump_json().encode()
    except (BadKey, SealingFailed):
        return encode_reply(RpcReply(status=400, error=_BAD_KEY))


def opened_answer(key: SealingKey, data: bytes) -> bytes:
    """Return the answer in an envelope, or the data itself if it is not an envelope.

    Raises:
        AnswerUnreadable: the answer was sealed for another key, or changed on its way.
    """
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data  # the decoder of the reply reports the error
    if not isinstance(answer, dict) or "ciphertext" not in answer:
        return data
    try:
        return key.open(answer)
    except Unsealable as error:
        raise AnswerUnreadable(reason=str(error)) from error
