import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from noetl_service import healthcheck


@contextmanager
def answering(text: bytes) -> Iterator[int]:
    """A server that gives one caller an answer and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(text)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n{}", 0),
        (b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"database": "no answer"}', 1),
        (b"SSH-2.0-200\r\n", 1),
        (b"", 1),
    ],
)
def test_only_a_200_is_healthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: bytes, code: int
) -> None:
    with answering(text) as port:
        monkeypatch.setenv("NOETL_HTTP_HOST", "")
        monkeypatch.setenv("NOETL_HTTP_PORT", str(port))
        assert healthcheck.main() == code

    said = capsys.readouterr().out
    assert bool(said) == (code == 1)
    assert ("database" in said) == (b"database" in text)


def test_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("NOETL_HTTP_PORT", str(port))
    monkeypatch.setenv("NOETL_HTTP_HOST", "127.0.0.1")

    assert healthcheck.main() == 1
    assert "ConnectionRefusedError" in capsys.readouterr().out
