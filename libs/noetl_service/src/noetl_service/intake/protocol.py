"""HTTP/1.1 on one connection, within limits.

The parser of uvicorn accepts a head of any size, copies an incomplete header for each piece, which
costs the square of its length, and has no timeouts. So this module counts bytes before they are
parsed, and `Connections` checks the timeouts.
"""

import asyncio
import math
import socket
import struct
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from noetl_service.intake.limits import ENDED, Connections

PEER_NAMES = "noetl.peer_names"
"""Key in the extensions of a request: names (SAN) of the client's verified certificate."""

_CHUNK_OVERHEAD = 17
"""Allowed framing bytes for each byte of a chunked body: `1`, two line ends, an extension."""
_YIELD_BYTES = 64 << 10
"""Size of a read from which on the connection yields to other connections before its next read."""
_HEAD = b"HTTP/1."
_CLOSE = b"connection: close\r\n\r\n"
_FULL = "Too many connections"


class GuardedProtocol(HttpToolsProtocol):
    """The protocol of uvicorn, extended by limits.

    A request that exceeds a limit is answered with a JSON body like other refusals, and its
    connection is closed.
    """

    def __init__(
        self,
        watch: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._watch = watch
        self._limits = watch.limits
        self._address = ""
        self._is_head = True
        self._head_bytes = 0
        self._head_since = math.inf
        self._surplus = 0
        self._chunks = 0
        self._body_bytes = 0
        self._rest: int | None = None  # bytes that may still arrive after an early answer
        self._rest_since = 0.0
        self._body_since = 0.0
        self._heard_at = 0.0
        self._unread_since = math.inf
        self._unread = 0
        self._closing_since = math.inf
        self._peer: dict[str, Any] = {}
        self._answers: Any = None  # has only those methods of a transport that uvicorn calls
        self._broken: tuple[int, str, str] | None = None

    # -- the connection ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Add the connection, and refuse it if there are too many."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._answers = GatheredAnswers(
            self.transport, self.loop, is_last=self._is_last_answer, close=self._close
        )
        self._address = self.client[0] if self.client else ""
        self._head_since = self.loop.time()
        certificate = transport.get_extra_info("peercert")
        if certificate:
            names = tuple(str(name) for _, name in certificate.get("subjectAltName", ()))
            self._peer = {PEER_NAMES: names}
        limit = self._watch.enter(self, self._address)
        if limit is not None:
            self._end(503, _FULL, limit)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        super().connection_lost(exc)
        self._watch.leave(self, self._address)

    def check(self, now: float) -> None:
        """Close the connection if it exceeds a timeout."""
        limits = self._limits
        if self.transport.is_closing():
            # The last bytes may be pending because the client doesn't read.
            self._closing_since = min(self._closing_since, now)
            if now - self._closing_since > limits.unread_seconds:
                self._drop()
        elif now - self._unread_since > limits.unread_seconds:
            left = self.transport.get_write_buffer_size()
            if self._unread - left < limits.unread_bytes:
                ENDED.labels("unread_seconds").inc()
                self._drop()
            self._unread, self._unread_since = left, now
        elif self._rest is not None:
            if now - self._rest_since > limits.rest_seconds:
                self.transport.close()
        elif self._is_head:
            if now - self._head_since > limits.head_seconds:
                self._end_late_head()
        else:
            self._check_body(now)

    def _check_body(self, now: float) -> None:
        limits = self._limits
        if now - self._body_since > limits.body_seconds:
            text = f"The body was not complete after {limits.body_seconds:g} s"
            self._end(408, text, "body_seconds")
        elif now - self._heard_at > limits.body_silence_seconds and self._may_client_send():
            text = f"No byte of the body came for {limits.body_silence_seconds:g} s"
            self._end(408, text, "body_silence_seconds")

    def _may_client_send(self) -> bool:
        """Return whether reading isn't paused and the client doesn't wait for a 100 Continue."""
        is_waiting = self.cycle is not None and self.cycle.waiting_for_100_continue
        return not (self.flow.read_paused or is_waiting)

    def _drop(self) -> None:
        """Reset the connection and discard pending bytes, including those in the kernel."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _end_late_head(self) -> None:
        if self._head_bytes:
            text = f"The request's head was not complete after {self._limits.head_seconds:g} s"
            self._end(408, text, "head_seconds")
        else:
            self.transport.close()

    # -- bytes ---------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the parser, within the limits."""
        if self.transport.is_closing():
            return
        self._heard_at = self.loop.time()
        if len(data) >= _YIELD_BYTES:
            # Otherwise the loop would keep reading for as long as the client fills the buffer.
            self.transport.pause_reading()
            self.loop.call_soon(self._resume_reading)
        if self._rest is not None:
            self._rest -= len(data)
            if self._rest < 0:
                ENDED.labels("rest_bytes").inc()
                self.transport.close()
        elif self._is_head:
            self._receive_head(data)
        else:
            self._surplus += len(data)
            super().data_received(data)
            if self._surplus > self._limits.head_bytes:
                self._end(400, "More bytes surround the body's chunks than it has", "head_bytes")

    def _receive_head(self, data: bytes) -> None:
        if not self._head_bytes and self._head_since == math.inf:
            self._head_since = self._heard_at
        room = self._limits.head_bytes - self._head_bytes
        if len(data) <= room:
            self._head_bytes += len(data)
            super().data_received(data)
            return
        self._head_bytes = self._limits.head_bytes
        super().data_received(data[:room])
        if self._is_head and self._head_bytes:
            text = f"The request's head has more than {self._limits.head_bytes} bytes"
            self._end(431, text, "head_bytes")
        elif not self.transport.is_closing():
            super().data_received(data[room:])

    def _resume_reading(self) -> None:
        if not (self.flow.read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    # -- callbacks of the parser ---------------------------------------------------------

    def on_headers_complete(self) -> None:
        """Begin the request."""
        limits = self._limits
        if len(self.headers) > limits.head_fields:
            text = f"The request has more than {limits.head_fields} header fields"
            self._broken = (431, text, "head_fields")
            raise ValueError(text)
        if len(self.pipeline) >= limits.pipelined:
            text = f"More than {limits.pipelined} requests were sent ahead of their answers"
            self._broken = (429, text, "pipelined")
            raise ValueError(text)
        if self._peer:
            self.scope["extensions"] = {**self._peer}
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = self._answers
        # Trailer fields go into a list of their own, because decisions read the header fields only.
        self.headers = []
        self._is_head = False
        self._head_bytes = self._surplus = self._chunks = self._body_bytes = 0
        self._body_since = self._heard_at

    def on_chunk_header(self) -> None:
        """Refuse a body in many small chunks, each of which costs as much as a large chunk."""
        limits = self._limits
        if self._chunks > limits.chunks and self._body_bytes < limits.chunk_bytes * self._chunks:
            text = (
                f"The body came in more than {limits.chunks} chunks of less than "
                f"{limits.chunk_bytes} bytes on average"
            )
            self._broken = (400, text, "chunk_bytes")
            raise ValueError(text)
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        """Receive a piece of the body."""
        self._body_bytes += len(body)
        self._surplus = max(0, self._surplus - _CHUNK_OVERHEAD * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the head of the next request."""
        self._is_head = True
        self._head_since = math.inf
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request, or a request that exceeds a limit."""
        self._end(*(self._broken or (400, msg, "")))

    # -- answers before the end of the body ----------------------------------------------

    def _is_last_answer(self) -> bool:
        """Return whether the answer that begins now is the last one of the connection.

        If the body of its request is incomplete, no other request can follow.
        """
        cycle = self.cycle
        # Only the last request can be incomplete, and `cycle` is the last request. If its answer
        # has not begun, the answer that begins now is of an earlier request.
        if self._is_head or not cycle.response_started or not cycle.keep_alive:
            return False
        cycle.keep_alive = False
        return True

    def _close(self) -> None:
        """Close the connection after an answer.

        The rest of the request is discarded first, up to a limit. If bytes arrive at a closed
        connection, the kernel resets it, and the client may never see the answer.
        """
        if self._rest is not None or self.transport.is_closing():
            return
        if self._is_head:
            self.transport.close()
            return
        self.pipeline.clear()
        self._rest = self._limits.rest_bytes
        self._rest_since = self.loop.time()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    # -- writing -------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Record since when the client doesn't read."""
        super().pause_writing()
        self._unread = self.transport.get_write_buffer_size()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        """Record that the client reads again."""
        super().resume_writing()
        self._unread_since = math.inf

    def _end(self, status: int, text: str, limit: str) -> None:
        """Refuse the request and close the connection; notify a handler that is in progress."""
        if self.transport.is_closing() or self._rest is not None:
            return
        if limit:
            ENDED.labels(limit).inc()
        cycle = self.cycle
        is_open = cycle is not None and not cycle.response_complete
        if not (is_open and cycle.response_started):
            self.transport.write(_refusal(status, text))
        if is_open and self.pipeline:
            # An earlier answer is still written, so writing must not be ended before.
            self.transport.close()
        else:
            self._close()
        if is_open:
            cycle.disconnected = True
            cycle.message_event.set()


class GatheredAnswers:
    """Writer of answers, which sends the head together with the first piece of the body.

    Otherwise there would be two packets, and each would wake the client. If the body doesn't follow
    immediately, the head is sent in the next iteration of the event loop.

    Args:
        transport: transport of the connection.
        loop: event loop of the connection.
        is_last: returns whether the answer is the last one; then its head says so.
        close: closes the connection once all is written.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        is_last: Callable[[], bool],
        close: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._is_last = is_last
        self._close = close
        self._head = b""
        self._flushing: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        """Write a piece of an answer."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
            data, self._head = self._head + data, b""
        elif data.startswith(_HEAD):
            self._head = data[:-2] + _CLOSE if self._is_last() else data
            self._flushing = self._loop.call_soon(self._flush)
            return
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection once all is written."""
        self._flush()
        self._close()

    def is_closing(self) -> bool:
        """Return whether the connection is being closed."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._flushing is None:
            return
        self._flushing.cancel()
        self._flushing = None
        head, self._head = self._head, b""
        if not self._transport.is_closing():
            self._transport.write(head)


def guarded(watch: Connections) -> type[asyncio.Protocol]:
    """Return the protocol class for `uvicorn.Config(http=…)`."""
    return cast("type[asyncio.Protocol]", partial(GuardedProtocol, watch))


def _refusal(status: int, text: str) -> bytes:
    body = orjson.dumps({"error": text, "status": status, "detail": text})
    retry_after = "retry-after: 1\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{retry_after}"
        "x-content-type-options: nosniff\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body
