"""Google Pub/Sub: a subscription, pulled over its REST interface.

Not by Google's own client, which brings gRPC and threads for a stream of messages that a bounded
poll has no use for.
"""

import base64
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence

import httpx
import orjson
from noetl_contract.json import Json, JsonObject
from noetl_contract.subscriptions.messages import Message, decoded_body, headers_of

from noetl_worker.bounded_http import AnswerTooLarge, fetch
from noetl_worker.sources.source import SourceAway, Taken, WrongSource, about, required, text

type Tokens = Callable[[], Awaitable[str]]
"""Gives an access token."""

_KIND = "pubsub"
_PLACE = "https://pubsub.googleapis.com"
_HOLD_SECONDS = 60
_SECONDS = 10.0
_MOST_BYTES = 64 << 20
_GONE = frozenset({400, 403, 404})


class PubSubSource:
    """Pull a subscription.

    Args:
        config: the connection.
        client: makes the requests.
        tokens: of the machine, where the configuration brings none.
    """

    def __init__(
        self, config: Mapping[str, Json], *, client: httpx.AsyncClient, tokens: Tokens
    ) -> None:
        self._subscription = required(config, "subscription", source=_KIND)
        emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
        endpoint = text(config, "endpoint") or (f"http://{emulator}" if emulator else _PLACE)
        self._base = endpoint.rstrip("/")
        self._client = client
        self._token = text(config, "token")
        # An emulator asks for no login, and a token in clear would be anybody's.
        self._tokens = tokens if self._base.startswith("https://") else None

    async def open(self) -> None:
        """Ask for the subscription."""
        await self._call("GET", self._subscription, None)

    async def fetch(self, most: int, seconds: float) -> list[Taken]:
        """Pull; that nothing came in time is an empty answer."""
        body = {"maxMessages": most}
        try:
            answer = await self._call(
                "POST", f"{self._subscription}:pull", body, seconds=seconds + 0.5
            )
        except _PulledNothingError:
            return []
        found = answer.get("receivedMessages")
        return [self._taken(one) for one in found or () if isinstance(one, dict)]

    def _taken(self, received: JsonObject) -> Taken:
        inner = received.get("message")
        raw: JsonObject = inner if isinstance(inner, dict) else {}
        body = base64.b64decode(raw.get("data") or "")
        data, notes = decoded_body(body)
        attributes = raw.get("attributes")
        attributes = attributes if isinstance(attributes, dict) else {}
        name = str(raw.get("messageId") or "")
        message = Message(
            id=name,
            data=data,
            headers=headers_of({key: str(value) for key, value in attributes.items()}),
            attributes=attributes,
            metadata=about(
                source=_KIND,
                mode="pull",
                subscription=self._subscription,
                publish_time=raw.get("publishTime"),
                ordering_key=raw.get("orderingKey"),
                delivery_attempt=received.get("deliveryAttempt"),
            )
            | notes,
        )
        identity = f"pubsub:{self._subscription}:{name}" if name else None
        return Taken(
            message=message, identity=identity, handle=received.get("ackId"), size=len(body)
        )

    async def ack(self, taken: Sequence[Taken]) -> None:
        """Acknowledge."""
        if taken:
            await self._call(
                "POST",
                f"{self._subscription}:acknowledge",
                {"ackIds": [one.handle for one in taken]},
            )

    async def hold(self, taken: Sequence[Taken]) -> None:
        """Start the time for an acknowledgement anew."""
        await self._deadline(taken, _HOLD_SECONDS)

    async def give_back(self, taken: Sequence[Taken]) -> None:
        """Have messages delivered again."""
        await self._deadline(taken, 0)

    async def _deadline(self, taken: Sequence[Taken], seconds: int) -> None:
        if taken:
            await self._call(
                "POST",
                f"{self._subscription}:modifyAckDeadline",
                {"ackIds": [one.handle for one in taken], "ackDeadlineSeconds": seconds},
            )

    async def publish(self, to: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Publish to a topic."""
        message = {"data": base64.b64encode(body).decode(), "attributes": dict(headers)}
        await self._call("POST", f"{to}:publish", {"messages": [message]})

    async def close(self) -> None:
        """Nothing is open."""

    async def _call(
        self, method: str, path: str, body: Json, *, seconds: float = _SECONDS
    ) -> JsonObject:
        headers = {"content-type": "application/json"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        elif self._tokens is not None:
            headers["authorization"] = f"Bearer {await self._tokens()}"
        try:
            request = self._client.build_request(
                method,
                f"{self._base}/v1/{path}",
                content=None if body is None else orjson.dumps(body),
                headers=headers,
                timeout=seconds,
            )
            response, data = await fetch(self._client, request, most=_MOST_BYTES)
        except httpx.ReadTimeout as error:
            if path.endswith(":pull"):
                raise _PulledNothingError from error
            raise SourceAway("no answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL, AnswerTooLarge) as error:
            raise SourceAway(str(error) or type(error).__name__) from error
        if not response.is_success:
            raise _refused(response.status_code, data, path)
        try:
            answer = orjson.loads(data or b"{}")
        except orjson.JSONDecodeError as error:
            raise SourceAway("the answer is no JSON") from error
        return answer if isinstance(answer, dict) else {}


class _PulledNothingError(Exception):
    """The time of a pull was over."""


def _refused(status: int, data: bytes, path: str) -> Exception:
    said = data[:300].decode("utf-8", "replace")
    # An id whose time is over is no fault of the subscription: its message comes again.
    is_too_late = status == 400 and path.endswith((":acknowledge", ":modifyAckDeadline"))
    if status in _GONE and not is_too_late:
        return WrongSource(f"subscription[pubsub]: HTTP {status}: {said}")
    return SourceAway(f"HTTP {status}: {said}")
