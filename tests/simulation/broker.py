"""A broker in memory: as much of NATS and JetStream as our bus uses, byte for byte on the wire.

`test_broker.py` runs the same cases against this one and a real server. What a real one loses
when it is killed, this one loses as well: all connections, subscriptions and requests, and of its
streams what was written in the last moments, deliveries and acknowledgements among it.
"""

import base64
import copy
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from tests.simulation import clocks
from tests.simulation.network import Endpoint
from tests.simulation.universe import Universe

_MOST = 1 << 20
_ACK_SECONDS = 0.0005
_INFO = {
    "server_id": "SIMULATED", "server_name": "simulated", "version": "2.12.0", "proto": 1,
    "headers": True, "max_payload": _MOST, "jetstream": True, "client_id": 1,
}  # fmt: skip
_STATUS = b"NATS/1.0 %s\r\n%s\r\n"


@dataclass
class _Message:
    sequence: int
    subject: str
    headers: bytes
    data: bytes
    at: float


@dataclass
class _Pull:
    """A request for messages of a consumer."""

    reply: str
    left: int
    until: float
    heartbeat: float


@dataclass
class _Consumer:
    config: dict[str, Any]
    created: float
    next_sequence: int = 1
    delivered: int = 0
    outstanding: dict[int, float] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    again: deque[int] = field(default_factory=deque)
    waiting: deque[_Pull] = field(default_factory=deque)

    @property
    def ack_wait(self) -> float:
        return float(self.config["ack_wait"]) / 1e9


@dataclass
class _Stream:
    config: dict[str, Any]
    created: float
    messages: dict[int, _Message] = field(default_factory=dict)
    last: int = 0
    ids: dict[str, tuple[float, int]] = field(default_factory=dict)
    consumers: dict[str, _Consumer] = field(default_factory=dict)
    has_failed: bool = False

    @property
    def bytes(self) -> int:
        return sum(len(one.data) + len(one.headers) for one in self.messages.values())


@dataclass
class _Client:
    end: Endpoint
    buffer: bytearray = field(default_factory=bytearray)
    subscriptions: dict[str, tuple[str, str]] = field(default_factory=dict)
    tells_nobody_listens: bool = False


class Broker:
    """The simulated server.

    Attributes:
        is_up: whether it accepts connections.
        loss: probability with which a message of core NATS reaches nobody.
        doubling: probability with which a write that is requested arrives twice.
        is_full: its disk has no room; a stream that is written to meanwhile fails for good.
    """

    def __init__(self, universe: Universe) -> None:
        self.universe = universe
        self.is_up = True
        self.is_full = False
        self.loss = self.doubling = 0.0
        self.streams: dict[str, _Stream] = {}
        self.seen: dict[str, int] = {}
        self._clients: dict[Endpoint, _Client] = {}
        self._exact: dict[str, dict[tuple[Endpoint, str], str]] = {}
        self._wild: dict[str, dict[tuple[Endpoint, str], tuple[list[str], str]]] = {}
        """By the first token, which is never a wildcard here, or the first two of an inbox."""
        self._kept: dict[str, _Stream] = {}

    # -- life ----------------------------------------------------------------------------

    def remember(self) -> None:
        """Note what is on the disk now; a kill goes back to it, unless it comes much later."""
        self._kept = copy.deepcopy(self.streams)

    def kill(self, *, keeps: bool, loses_messages: bool = False) -> None:
        """End as by SIGKILL.

        Args:
            keeps: whether the store is there when it starts again.
            loses_messages: whether messages since `remember` are lost, or only what consumers did.
        """
        self.is_up = False
        for end in list(self._clients):
            end.reset()
        if not keeps:
            self.streams = {}
            return
        for name, stream in self.streams.items():
            stream.has_failed = False
            before = self._kept.get(name)
            for consumer in stream.consumers.values():
                consumer.waiting.clear()
            if before is None:
                continue
            if loses_messages:
                # Work that is done does not come back with the loss of a message.
                stream.messages = {
                    number: one for number, one in stream.messages.items() if number <= before.last
                }
                stream.last = max(before.last, max(stream.messages, default=0))
                stream.ids = {k: v for k, v in stream.ids.items() if v[1] <= stream.last}
            for key, consumer in stream.consumers.items():
                if (old := before.consumers.get(key)) is not None:
                    consumer.next_sequence = old.next_sequence
                    consumer.outstanding = dict(old.outstanding)
                    consumer.counts = dict(old.counts)
                    consumer.again = deque(old.again)
        self._kept = {}

    def start(self) -> None:
        """Start again."""
        self.is_up = True
        for stream in self.streams.values():
            stream.has_failed = False
            for consumer in stream.consumers.values():
                for sequence in list(consumer.outstanding):
                    self._watch(stream, consumer, sequence)

    # -- connections ---------------------------------------------------------------------

    def accept(self, end: Endpoint) -> bool:
        if not self.is_up:
            return False
        self._clients[end] = _Client(end)
        end.send(b"INFO %s\r\n" % orjson.dumps(_INFO))
        return True

    def lose(self, end: Endpoint) -> None:
        client = self._clients.pop(end, None)
        if client is not None:
            for sid in list(client.subscriptions):
                self._unsubscribe(client, sid)

    def receive(self, end: Endpoint, data: bytes) -> None:
        client = self._clients.get(end)
        if client is None:
            return
        client.buffer += data
        while (line_end := client.buffer.find(b"\r\n")) >= 0:
            line = client.buffer[:line_end].decode()
            word, _, rest = line.partition(" ")
            word = word.upper()
            if word in {"PUB", "HPUB"}:
                fields = rest.split()
                total = int(fields[-1])
                if len(client.buffer) < line_end + 4 + total:
                    return
                body = bytes(client.buffer[line_end + 2 : line_end + 2 + total])
                del client.buffer[: line_end + 4 + total]
                cut = int(fields[-2]) if word == "HPUB" else 0
                named = fields[: -2 if word == "HPUB" else -1]
                reply = named[1] if len(named) > 1 else ""
                self._take(client, named[0], reply, body[:cut], body[cut:])
                continue
            del client.buffer[: line_end + 2]
            if word == "PING":
                end.send(b"PONG\r\n")
            elif word == "CONNECT":
                client.tells_nobody_listens = bool(orjson.loads(rest).get("no_responders"))
            elif word == "SUB":
                subject, *queue, sid = rest.split()
                self._subscribe(client, subject, queue[0] if queue else "", sid)
            elif word == "UNSUB":
                self._unsubscribe(client, rest.split()[0])

    def _subscribe(self, client: _Client, subject: str, queue: str, sid: str) -> None:
        client.subscriptions[sid] = (subject, queue)
        key = (client.end, sid)
        if "*" in subject or subject.endswith(">"):
            self._wild.setdefault(_group(subject), {})[key] = (subject.split("."), queue)
        else:
            self._exact.setdefault(subject, {})[key] = queue

    def _unsubscribe(self, client: _Client, sid: str) -> None:
        subject, _ = client.subscriptions.pop(sid, ("", ""))
        self._wild.get(_group(subject), {}).pop((client.end, sid), None)
        if subject in self._exact:
            self._exact[subject].pop((client.end, sid), None)

    # -- messages ------------------------------------------------------------------------

    def _take(self, client: _Client, subject: str, reply: str, head: bytes, data: bytes) -> None:
        name = subject.split(".", 1)[0]
        self.seen[name] = self.seen.get(name, 0) + 1
        if subject.startswith("$JS.ACK."):
            # Beside the rest: a request behind it may be served before it counts.
            pause = self.universe.random.random() * _ACK_SECONDS
            self.universe.after(pause, lambda: self._acknowledge(subject, data))
            return
        if subject.startswith("$JS.API."):
            self._call(subject[8:], data, reply)
            return
        stream = self._stream_of(subject)
        if stream is not None and not self._store(stream, subject, reply, head, data):
            return
        is_answer = subject.startswith("_INBOX")
        if stream is None and self.loss and self.universe.random.random() < self.loss:
            self.universe.note(f"lost {subject}")
            return
        heard = self._route(subject, reply, head, data)
        if name == "noetl_write" and heard and self.universe.random.random() < self.doubling:
            self.universe.note(f"doubled {subject}")
            self._route(subject, reply, head, data)
        if not heard and stream is None and reply and client.tells_nobody_listens and not is_answer:
            self._route(reply, "", _STATUS % (b"503", b""), b"")

    def _route(self, subject: str, reply: str, head: bytes, data: bytes) -> bool:
        """Deliver to all who listen, of each queue to one; return whether there is anybody."""
        found: list[tuple[Endpoint, str]] = []
        queues: dict[str, list[tuple[Endpoint, str]]] = {}
        for key, queue in self._exact.get(subject, {}).items():
            (queues.setdefault(queue, []) if queue else found).append(key)
        tokens = subject.split(".")
        for key, (pattern, queue) in self._wild.get(_group(subject), {}).items():
            if _matches(pattern, tokens):
                (queues.setdefault(queue, []) if queue else found).append(key)
        found += [self.universe.random.choice(group) for group in queues.values()]
        for end, sid in found:
            end.send(_encoded(subject, sid, reply, head, data))
        return bool(found)

    def _deliver_to(self, inbox: str, subject: str, reply: str, head: bytes, data: bytes) -> bool:
        """Deliver a message of a stream to who listens to an inbox."""
        tokens = inbox.split(".")
        for (end, sid), (pattern, _) in self._wild.get(_group(inbox), {}).items():
            if _matches(pattern, tokens):
                end.send(_encoded(subject, sid, reply, head, data))
                return True
        for end, sid in self._exact.get(inbox, {}):
            end.send(_encoded(subject, sid, reply, head, data))
            return True
        return False

    # -- streams -------------------------------------------------------------------------

    def _stream_of(self, subject: str) -> _Stream | None:
        tokens = subject.split(".")
        for stream in self.streams.values():
            if any(_matches(one.split("."), tokens) for one in stream.config["subjects"]):
                return stream
        return None

    def _store(self, stream: _Stream, subject: str, reply: str, head: bytes, data: bytes) -> bool:
        """Store a message and acknowledge it; return whether it is one to be delivered."""
        name = stream.config["name"]
        if self.is_full:
            stream.has_failed = True
        if stream.has_failed:
            return False
        message_id = _header(head, b"Nats-Msg-Id")
        window = stream.config.get("duplicate_window", 0) / 1e9
        if message_id is not None:
            at, number = stream.ids.get(message_id, (float("-inf"), 0))
            if self.universe.now - at < window:
                self._answer(reply, {"stream": name, "seq": number, "duplicate": True})
                return False
        most = stream.config.get("max_bytes", -1)
        if stream.config.get("discard") == "new" and 0 <= most < stream.bytes + len(data):
            error = {"code": 503, "err_code": 10077, "description": "maximum bytes exceeded"}
            self._answer(reply, {"error": error, "stream": name, "seq": 0})
            return False
        stream.last += 1
        stream.messages[stream.last] = _Message(stream.last, subject, head, data, self.universe.now)
        if message_id is not None:
            stream.ids[message_id] = (self.universe.now, stream.last)
        self._answer(reply, {"stream": name, "seq": stream.last})
        for consumer in stream.consumers.values():
            self._serve(stream, consumer)
        return True

    def _answer(self, reply: str, body: Any) -> None:
        if reply:
            self._route(reply, "", b"", orjson.dumps(body))

    # -- consumers -----------------------------------------------------------------------

    def _serve(self, stream: _Stream, consumer: _Consumer) -> None:
        """Deliver as long as somebody asks and something is there."""
        now = self.universe.now
        while consumer.waiting:
            if consumer.waiting[0].until <= now:
                consumer.waiting.popleft()
                continue
            if len(consumer.outstanding) >= consumer.config.get("max_ack_pending", 1000):
                return
            sequence = self._next(stream, consumer)
            if sequence is None:
                return
            pull = consumer.waiting[0]
            pull.left -= 1
            count = consumer.counts[sequence] = consumer.counts.get(sequence, 0) + 1
            consumer.delivered += 1
            consumer.outstanding[sequence] = now + consumer.ack_wait
            message = stream.messages[sequence]
            pending = sum(
                number >= consumer.next_sequence and self._is_for(consumer, one)
                for number, one in stream.messages.items()
            )
            ack = (
                f"$JS.ACK.{stream.config['name']}.{consumer.config['durable_name']}.{count}."
                f"{sequence}.{consumer.delivered}.{_nanoseconds(message.at)}.{pending}"
            )
            self._watch(stream, consumer, sequence)
            self._deliver_to(pull.reply, message.subject, ack, message.headers, message.data)
            if pull.left <= 0:
                consumer.waiting.popleft()

    def _is_for(self, consumer: _Consumer, message: _Message) -> bool:
        wanted = consumer.config.get("filter_subject") or ">"
        return _matches(wanted.split("."), message.subject.split("."))

    def _next(self, stream: _Stream, consumer: _Consumer) -> int | None:
        while consumer.again:
            sequence = consumer.again.popleft()
            if sequence in stream.messages and sequence not in consumer.outstanding:
                return sequence
        while consumer.next_sequence <= stream.last:
            sequence = consumer.next_sequence
            consumer.next_sequence += 1
            message = stream.messages.get(sequence)
            if message is not None and self._is_for(consumer, message):
                return sequence
        return None

    def _watch(self, stream: _Stream, consumer: _Consumer, sequence: int) -> None:
        """Deliver a message again when it is not answered in time."""
        due = consumer.outstanding[sequence]

        def look() -> None:
            known = self.streams.get(stream.config["name"])
            if known is not stream or not self.is_up:
                return
            until = consumer.outstanding.get(sequence)
            if until is None or until > self.universe.now:
                if until is not None:
                    self.universe.at(until, look)
                return
            del consumer.outstanding[sequence]
            consumer.again.append(sequence)
            self._serve(stream, consumer)

        self.universe.at(due, look)

    def _acknowledge(self, subject: str, word: bytes) -> None:
        _, _, name, durable, _, sequence, *_ = subject.split(".")
        stream = self.streams.get(name)
        consumer = stream.consumers.get(durable) if stream is not None else None
        if stream is None or consumer is None or not self.is_up:
            return
        number = int(sequence)
        if number not in consumer.outstanding:
            return
        if word.startswith(b"+WPI"):
            consumer.outstanding[number] = self.universe.now + consumer.ack_wait
            return
        if word.startswith(b"-NAK"):
            delay = orjson.loads(word[4:])["delay"] / 1e9 if word[4:].strip() else 0.0
            if delay:
                # It counts as delivered until then, as at a real one.
                consumer.outstanding[number] = self.universe.now + delay
                self._watch(stream, consumer, number)
                return
            del consumer.outstanding[number]
            consumer.again.append(number)
            self._serve(stream, consumer)
            return
        del consumer.outstanding[number]
        consumer.counts.pop(number, None)
        if stream.config.get("retention") == "workqueue":
            stream.messages.pop(number, None)
        self._serve(stream, consumer)

    def _pull(self, stream: _Stream, consumer: _Consumer, data: bytes, reply: str) -> None:
        wanted = orjson.loads(data)
        now = self.universe.now
        pull = _Pull(
            reply,
            wanted.get("batch", 1),
            now + (wanted.get("expires", 0) / 1e9 or 1e9),
            wanted.get("idle_heartbeat", 0) / 1e9,
        )
        consumer.waiting.append(pull)
        self._serve(stream, consumer)

        def expire() -> None:
            if pull.left > 0 and pull in consumer.waiting and self.is_up:
                consumer.waiting.remove(pull)
                head = (
                    b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: %d\r\n"
                    b"Nats-Pending-Bytes: 0\r\n\r\n" % pull.left
                )
                self._route(reply, "", head, b"")

        def beat() -> None:
            if pull.left > 0 and pull in consumer.waiting and self.is_up:
                head = b"NATS/1.0 100 Idle Heartbeat\r\n\r\n"
                if self._route(reply, "", head, b""):
                    self.universe.after(pull.heartbeat, beat)
                else:
                    consumer.waiting.remove(pull)

        if pull.left > 0:
            self.universe.at(pull.until, expire)
            if pull.heartbeat:
                self.universe.after(pull.heartbeat, beat)

    # -- the API -------------------------------------------------------------------------

    def _call(self, operation: str, data: bytes, reply: str) -> None:
        words = operation.split(".")
        if words[:3] == ["CONSUMER", "MSG", "NEXT"]:
            stream = self.streams.get(words[3])
            consumer = stream.consumers.get(words[4]) if stream is not None else None
            if stream is None or consumer is None:
                self._route(reply, "", _STATUS % (b"503", b""), b"")
            else:
                self._pull(stream, consumer, data, reply)
            return
        body = orjson.loads(data) if data else {}
        if words[0] == "INFO":
            self._answer(reply, {"type": "account_info", "streams": len(self.streams)})
            return
        name = words[3] if words[1] == "MSG" else words[2]
        if words[:2] == ["STREAM", "CREATE"]:
            if name not in self.streams:
                self.streams[name] = _Stream(body, self.universe.now)
            elif self.streams[name].config != body:
                error = {"code": 400, "err_code": 10058, "description": "stream name in use"}
                self._answer(reply, {"error": error})
                return
            self._answer(reply, self._stream_info(self.streams[name]))
            return
        stream = self.streams.get(name)
        if stream is None:
            error = {"code": 404, "err_code": 10059, "description": "stream not found"}
            self._answer(reply, {"error": error})
            return
        self._answer(reply, self._about(stream, words, body))

    def _about(self, stream: _Stream, words: list[str], body: Any) -> Any:  # noqa: PLR0911
        match words[:2]:
            case ["STREAM", "INFO"]:
                return self._stream_info(stream)
            case ["STREAM", "UPDATE"]:
                stream.config = body
                return self._stream_info(stream)
            case ["STREAM", "PURGE"]:
                if stream.has_failed:
                    return {"error": {"code": 500, "err_code": 10051, "description": "failed"}}
                wanted = body.get("filter", ">").split(".")
                gone = [n for n, m in stream.messages.items()
                        if _matches(wanted, m.subject.split("."))]  # fmt: skip
                for number in gone:
                    del stream.messages[number]
                return {"success": True, "purged": len(gone)}
            case ["STREAM", "MSG"]:
                return self._message(stream, words[2], body)
            case ["CONSUMER", "CREATE"]:
                config = body["config"]
                known = stream.consumers.get(words[3])
                if known is None:
                    known = stream.consumers[words[3]] = _Consumer(config, self.universe.now)
                known.config = {**known.config, **config}
                return self._consumer_info(stream, known)
            case ["CONSUMER", "LIST"]:
                listed = [self._consumer_info(stream, one) for one in stream.consumers.values()]
                page = listed[body.get("offset", 0) :]
                return {"total": len(listed), "offset": 0, "limit": 256, "consumers": page}
            case ["CONSUMER", "INFO"] if words[3] in stream.consumers:
                return self._consumer_info(stream, stream.consumers[words[3]])
        error = {"code": 404, "err_code": 10014, "description": "consumer not found"}
        return {"error": error}

    def _message(self, stream: _Stream, word: str, body: Any) -> Any:
        number = body.get("seq", 0)
        message = stream.messages.get(number)
        if word == "DELETE":
            if message is None:
                return {"error": {"code": 400, "err_code": 10043, "description": "no message"}}
            del stream.messages[number]
            return {"success": True}
        if (pattern := body.get("next_by_subj")) is not None:
            wanted = pattern.split(".")
            message = next(
                (one for key, one in sorted(stream.messages.items())
                 if key >= number and _matches(wanted, one.subject.split("."))),
                None,
            )  # fmt: skip
        if message is None:
            return {"error": {"code": 404, "err_code": 10037, "description": "no message found"}}
        return {
            "message": {
                "subject": message.subject,
                "seq": message.sequence,
                "hdrs": base64.b64encode(message.headers).decode(),
                "data": base64.b64encode(message.data).decode(),
                "time": _moment(message.at),
            }
        }

    def _stream_info(self, stream: _Stream) -> Any:
        numbers = stream.messages
        first = min(numbers, default=stream.last + 1)
        state = {
            "messages": len(numbers),
            "bytes": stream.bytes,
            "first_seq": first,
            "last_seq": stream.last,
            "consumer_count": len(stream.consumers),
        }
        if numbers:
            state["first_ts"] = _moment(numbers[first].at)
        return {
            "config": stream.config,
            "created": _moment(stream.created),
            "ts": _moment(self.universe.now),
            "state": state,
        }

    def _consumer_info(self, stream: _Stream, consumer: _Consumer) -> Any:
        return {
            "stream_name": stream.config["name"],
            "name": consumer.config["durable_name"],
            "created": _moment(consumer.created),
            "config": consumer.config,
            "delivered": {
                "consumer_seq": consumer.delivered,
                "stream_seq": consumer.next_sequence - 1,
            },
            "num_ack_pending": len(consumer.outstanding),
            "num_redelivered": sum(count > 1 for count in consumer.counts.values()),
            "num_waiting": len(consumer.waiting),
            "num_pending": sum(
                number >= consumer.next_sequence and self._is_for(consumer, one)
                for number, one in stream.messages.items()
            ),
        }


def _encoded(subject: str, sid: str, reply: str, head: bytes, data: bytes) -> bytes:
    named = f"{subject} {sid} {reply} " if reply else f"{subject} {sid} "
    if head:
        return b"HMSG %s%d %d\r\n%s%s\r\n" % (
            named.encode(), len(head), len(head) + len(data), head, data,
        )  # fmt: skip
    return b"MSG %s%d\r\n%s\r\n" % (named.encode(), len(data), data)


def _group(subject: str) -> str:
    """Return the tokens that a pattern and what it matches have in common in any case."""
    first, _, rest = subject.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first.startswith("_INBOX") else first


def _matches(pattern: list[str], tokens: list[str]) -> bool:
    for place, token in enumerate(pattern):
        if token == ">":
            return len(tokens) > place
        if place >= len(tokens) or (token != "*" and token != tokens[place]):
            return False
    return len(pattern) == len(tokens)


def _header(head: bytes, name: bytes) -> str | None:
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip().decode() if found else None


def _nanoseconds(at: float) -> int:
    return round((clocks.BEGAN + at) * 1e6) * 1000


def _moment(at: float) -> str:
    return datetime.fromtimestamp(clocks.BEGAN + at, UTC).isoformat().replace("+00:00", "Z")
