"""An emulator of Google Pub/Sub's REST interface: leases, deadlines, redelivery, topics."""

import base64
import itertools
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from noetl_contract.json import JsonObject

from noetl_testkit.web import Request, Response, WebServer, serving

_CALL = re.compile(r"/v1/(projects/[^:]+?)(?::(\w+))?")
_PULL_SECONDS = 0.2


@dataclass
class _Stored:
    message: JsonObject
    attempts: int = 0
    until: float = 0.0
    ack_id: str = ""


@dataclass
class PubSubEmulator:
    """One project: a message to a topic goes to the subscription of the same last name.

    Attributes:
        deadline_seconds: after which what is not acknowledged is delivered again.
        is_down: whether every call fails, as in an outage.
    """

    deadline_seconds: float = 10.0
    is_down: bool = False
    url: str = ""
    topics: dict[str, list[JsonObject]] = field(default_factory=dict)
    _waiting: dict[str, deque[_Stored]] = field(default_factory=dict)
    _leased: dict[str, tuple[str, _Stored]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def publish(self, name: str, body: bytes, **attributes: str) -> str:
        """Publish a message to the topic of a name; return its id."""
        with self._lock:
            number = str(next(self._numbers))
            message: JsonObject = {
                "data": base64.b64encode(body).decode(),
                "attributes": dict(attributes),
                "messageId": number,
                "publishTime": "2026-06-15T12:00:00Z",
            }
            self.topics.setdefault(name, []).append(message)
            self._waiting.setdefault(name, deque()).append(_Stored(message))
            return number

    @property
    def unacknowledged(self) -> int:
        """Messages that wait or are leased."""
        with self._lock:
            return sum(map(len, self._waiting.values())) + len(self._leased)

    def answer(self, request: Request) -> Response:
        """Answer a call."""
        found = _CALL.fullmatch(request.path)
        if self.is_down or found is None:
            return Response({"error": {"code": 503}}, status=503)
        name, verb = found[1].rpartition("/")[2], found[2]
        body = request.json or {}
        match verb:
            case None:
                return Response({"name": found[1]})
            case "pull":
                return self._pull(name, int(body["maxMessages"]))
            case "acknowledge":
                self._acknowledge(body["ackIds"])
            case "modifyAckDeadline":
                self._hold(body["ackIds"], body["ackDeadlineSeconds"])
            case "publish":
                ids = []
                for message in body["messages"]:
                    data = base64.b64decode(message["data"])
                    ids.append(self.publish(name, data, **message.get("attributes", {})))
                return Response({"messageIds": ids})
        return Response({})

    def _acknowledge(self, ack_ids: list[str]) -> None:
        with self._lock:
            for ack_id in ack_ids:
                self._leased.pop(ack_id, None)

    def _hold(self, ack_ids: list[str], seconds: float) -> None:
        with self._lock:
            for ack_id in ack_ids:
                if ack_id in self._leased:
                    self._leased[ack_id][1].until = time.monotonic() + seconds

    def _pull(self, name: str, most: int) -> Response:
        end = time.monotonic() + _PULL_SECONDS
        while True:
            taken = self._take(name, most)
            if taken or time.monotonic() > end:
                return Response({"receivedMessages": taken} if taken else {})
            time.sleep(0.01)

    def _take(self, name: str, most: int) -> list[JsonObject]:
        now = time.monotonic()
        with self._lock:
            waiting = self._waiting.setdefault(name, deque())
            for ack_id, (place, stored) in list(self._leased.items()):
                if place == name and stored.until <= now:
                    del self._leased[ack_id]
                    waiting.append(stored)
            taken: list[JsonObject] = []
            while waiting and len(taken) < most:
                stored = waiting.popleft()
                stored.attempts += 1
                stored.until = now + self.deadline_seconds
                stored.ack_id = f"{stored.message['messageId']}-{stored.attempts}"
                self._leased[stored.ack_id] = (name, stored)
                taken.append(
                    {
                        "ackId": stored.ack_id,
                        "message": stored.message,
                        "deliveryAttempt": stored.attempts,
                    }
                )
            return taken


@contextmanager
def running_pubsub(**settings: float) -> Iterator[PubSubEmulator]:
    """Serve an emulator for the length of the block."""
    emulator = PubSubEmulator(**settings)  # type: ignore[arg-type]  # names of its fields
    with serving(emulator.answer) as server:
        _keep_no_requests(server)
        emulator.url = server.url
        yield emulator


def _keep_no_requests(server: WebServer) -> None:
    """Forget the requests: thousands of pulls are of no use to a test."""
    kept = server.answer

    def answer(request: Request) -> Response:
        server.requests.clear()
        return kept(request)

    server.answer = answer
