"""A few lines of the NATS protocol to ask a server for its identity, without an event loop."""

import json
import secrets
import socket
from typing import Self
from urllib.parse import unquote, urlsplit

from noetl_contract.json import JsonObject
from noetl_contract.subjects import inbox_prefix


class NatsProbeError(OSError):
    """The server did not answer as a NATS server of ours would."""


class NatsProbe:
    """One short-lived, blocking connection; use it as a context manager."""

    def __init__(self, url: str, *, timeout_seconds: float = 2.0) -> None:
        parts = urlsplit(url)
        # One of its own: on a shared inbox a probe takes the answer to another probe's question.
        self._inbox = f"{inbox_prefix(unquote(parts.username or ''))}.{secrets.token_hex(8)}"
        self._asked = 0
        self._socket = socket.create_connection(
            (parts.hostname or "127.0.0.1", parts.port or 4222), timeout=timeout_seconds
        )
        try:
            self._stream = self._socket.makefile("rb")
            greeting = self._expect("INFO")
            self.info: JsonObject = json.loads(greeting.partition(" ")[2])
            login: JsonObject = {"verbose": False, "pedantic": False, "headers": True}
            if parts.username:
                login |= {"user": unquote(parts.username), "pass": unquote(parts.password or "")}
            self._send(f"CONNECT {json.dumps(login)}\r\nPING\r\n")
            self._expect("PONG")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if hasattr(self, "_stream"):
            self._stream.close()
        self._socket.close()

    def request(self, subject: str, body: object = None) -> JsonObject:
        """Asks and waits for the JSON answer."""
        payload = b"" if body is None else json.dumps(body).encode()
        # A subscription of its own for each: the server may still be ending that of the question
        # before when it reads this one, which would then end with it, and so would the answer.
        self._asked += 1
        number, inbox = self._asked, f"{self._inbox}.{self._asked}"
        question = (
            f"SUB {inbox} {number}\r\nUNSUB {number} 1\r\nPUB {subject} {inbox} {len(payload)}"
        )
        # In one piece: a second one would wait until the server's system, which takes its time,
        # confirms the first.
        self._socket.sendall(f"{question}\r\n".encode() + payload + b"\r\n")
        head = self._expect("MSG", "HMSG").split()
        size = int(head[-1])
        data = self._stream.read(size + 2)[:size]
        if head[0] == "HMSG":
            raise NatsProbeError(f"nobody answers on {subject}")
        answer: JsonObject = json.loads(data)
        return answer

    def _expect(self, *verbs: str) -> str:
        while True:
            line = self._line()
            verb = line.partition(" ")[0]
            if verb in verbs:
                return line
            if verb == "PING":
                self._send("PONG\r\n")
            elif verb not in {"INFO", "PONG", "+OK"}:
                raise NatsProbeError(line[:200])

    def _line(self) -> str:
        line = self._stream.readline()
        if not line:
            raise NatsProbeError("the server closed the connection")
        return line.decode().rstrip("\r\n")

    def _send(self, text: str) -> None:
        self._socket.sendall(text.encode())
