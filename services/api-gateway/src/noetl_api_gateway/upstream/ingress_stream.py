"""What the edge asks of the ingress stream itself.

Over the bus's own requests: those of the client library are kept while the connection is down
and said to whatever store is there afterwards.
"""

import base64

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.errors import BusUnavailable
from noetl_common.bus.publish import MESSAGE_ID_HEADER
from noetl_contract.json import JsonObject
from noetl_contract.streams import INGRESS

_API = "$JS.API.STREAM"
_SECONDS = 2.0


async def count_messages(bus: Bus) -> int:
    """Return how many messages wait to be processed.

    Raises:
        BusUnavailable: no answer, or no stream.
    """
    answer = await _ask(bus, "INFO", b"")
    if "state" not in answer:
        raise BusUnavailable(what=INGRESS.name, reason=str(answer.get("error")))
    return int(answer["state"]["messages"])


async def holds_message(bus: Bus, sequence: int, message_id: str) -> bool:
    """Return whether a message still waits in the stream.

    It does not when it was acknowledged, and when the store was lost; the sequence may then
    be that of another message.

    Raises:
        BusUnavailable: no answer.
    """
    answer = await _ask(bus, "MSG.GET", orjson.dumps({"seq": sequence}))
    error = answer.get("error")
    if error is not None:
        if error.get("code") == 404:
            return False
        raise BusUnavailable(what=INGRESS.name, reason=str(error))
    headers = base64.b64decode(answer["message"].get("hdrs", ""))
    return f"{MESSAGE_ID_HEADER}: {message_id}\r\n".encode() in headers


async def _ask(bus: Bus, operation: str, body: bytes) -> JsonObject:
    incoming = await bus.request(f"{_API}.{operation}.{INGRESS.name}", body, timeout=_SECONDS)
    answer: JsonObject = orjson.loads(incoming.data)
    return answer
