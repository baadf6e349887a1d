"""The envelope of every answer between services."""

from dataclasses import dataclass
from typing import Self

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, Encoder

from noetl_contract.json import Json, encode, parse
from noetl_contract.model import Struct, decode

_NULL = Raw(b"null")


class RpcReply(Struct, omit_defaults=False):
    """An HTTP-shaped answer: ``body`` for 2xx, otherwise ``error`` with ``detail``.

    ``status`` is the HTTP status the edge answers with. ``raw_body`` is the body as it came: most
    of it is passed on, or read as what an operation answers. All fields are sent: the release
    before looks for ``status``.
    """

    status: int = 200
    raw_body: Raw = msgspec.field(name="body", default_factory=lambda: _NULL)
    error: str | None = None
    detail: Json = None

    @classmethod
    def with_body(cls, body: Json, *, status: int = 200) -> Self:
        """Return the answer with a body that is not encoded yet.

        Raises:
            TypeError, ValueError: as `noetl_contract.json.encode`.
        """
        return cls(status=status, raw_body=Raw(encode(body)))

    @property
    def is_good(self) -> bool:
        """Whether the request succeeded: a status from 200 to 299."""
        return 200 <= self.status < 300

    @property
    def body(self) -> Json:
        """The body, parsed each time.

        Raises:
            ValueError: it is no JSON.
        """
        return parse(self.raw_body)


_REPLY = Decoder(RpcReply)
_ENCODER = Encoder(enc_hook=str)
_HEAD, _TAIL = _ENCODER.encode(RpcReply()).split(b"null", 1)


def encode_reply(reply: RpcReply) -> bytes:
    """Encode an answer; what is no JSON in its detail becomes text."""
    return _ENCODER.encode(reply)


def decode_reply(data: bytes, *, cuts_body: bool = True) -> RpcReply:
    """Decode an answer, but for its body.

    Args:
        data: as `encode_reply` returns it.
        cuts_body: find the body by what stands before and behind it, where that is as usual.

    Raises:
        ValueError: it is none.
    """
    if cuts_body and data.startswith(_HEAD) and data.endswith(_TAIL):
        # As `encode_reply` writes most: even to skip a large body would hold up the loop.
        return RpcReply(raw_body=Raw(memoryview(data)[len(_HEAD) : -len(_TAIL)]))
    return decode(_REPLY, data)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is not met: HTTP status, text, structured detail."""

    status: int
    error: str
    detail: Json = None
