"""Limits of one HTTP port."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLimits:
    """Limits of one connection and of one address; times in seconds, sizes in bytes.

    Attributes:
        head_bytes: request line and header fields together; what surrounds the pieces of a
            chunked body may be as much.
        head_fields: header fields of a request.
        head_seconds: from a head's first byte to its last; a new connection has as long for its
            first request, and for the handshake of TLS.
        chunks: of a body, from which on they must have ``chunk_bytes`` on average.
        chunk_bytes: see there.
        rest_bytes: of a request's body that come after its answer, before the connection is
            closed; none of them is looked at.
        rest_seconds: in which they may come.
        body_silence_seconds: without a byte of a body that is not complete.
        body_seconds: from the end of the head to the end of the body.
        unread_seconds: in which a client must take ``unread_bytes`` of what waits for it.
        unread_bytes: see there.
        idle_seconds: between two requests of a connection.
        pipelined: requests that a client may send ahead of their answers.
        connections: of all clients together.
        connections_per_address: of one address.
    """

    head_bytes: int = 64 << 10
    head_fields: int = 200
    head_seconds: float = 10.0
    chunks: int = 1000
    chunk_bytes: int = 256
    rest_bytes: int = 1 << 20
    rest_seconds: float = 2.0
    body_silence_seconds: float = 30.0
    body_seconds: float = 300.0
    unread_seconds: float = 30.0
    unread_bytes: int = 16 << 10
    idle_seconds: float = 75.0
    pipelined: int = 32
    connections: int = 1000
    connections_per_address: int = 200

    def watch_seconds(self) -> float:
        """Return the interval of the checks of timeouts, in seconds."""
        times = (self.head_seconds, self.body_silence_seconds, self.unread_seconds)
        return min(1.0, *(one / 4 for one in times))
