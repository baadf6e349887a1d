"""The stand-in server gives the answers that it was set to, and keeps its requests."""

import threading
from collections.abc import Iterator

import httpx
import pytest
from noetl_testkit.web import Request, Response, serving


def test_a_request_is_kept_as_it_was_sent() -> None:
    with serving(lambda _: Response()) as server:
        httpx.put(f"{server.url}/a%20b?n=1&n=2", headers={"X-One": "1"}, json={"k": "ä"})

    (request,) = server.requests
    assert (request.method, request.target, request.path) == ("PUT", "/a%20b?n=1&n=2", "/a b")
    assert (request.query, request.query_lists) == ({"n": "2"}, {"n": ["1", "2"]})
    assert (request.headers["x-one"], request.json) == ("1", {"k": "ä"})
    assert (server.lines(), server.count("/a b")) == (["PUT /a b"], 1)


@pytest.mark.parametrize(
    ("response", "kind", "body"),
    [
        (Response({"a": 1}, 201), "application/json", b'{"a": 1}'),
        (Response(b"\xff"), "text/plain", b"\xff"),
        (Response(b"<p>", headers={"Content-Type": "text/html"}), "text/html", b"<p>"),
        (Response(b"x" * 1_000_000), "text/plain", b"x" * 1_000_000),
    ],
)
def test_a_body_is_json_unless_it_is_bytes(response: Response, kind: str, body: bytes) -> None:
    with serving(lambda _: response) as server:
        answer = httpx.get(server.url)

    assert (answer.status_code, answer.headers["content-type"]) == (response.status, kind)
    assert answer.content == body


def test_a_body_in_pieces_arrives_while_it_is_made() -> None:
    go_on = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"first"
        assert go_on.wait(10)
        yield b"second"

    with (
        serving(lambda _: Response(pieces())) as server,
        httpx.stream("GET", server.url) as answer,
    ):
        arriving = answer.iter_raw()
        first = next(arriving)
        go_on.set()
        rest = b"".join(arriving)

    assert (first, rest) == (b"first", b"second")


def test_the_answer_may_change_and_may_depend_on_the_request() -> None:
    def echo(request: Request) -> Response:
        return Response(request.body)

    with serving(echo) as server, httpx.Client(base_url=server.url) as client:
        before = client.post("/", content=b"a").content
        server.answer = lambda _: Response(b"away", 503)
        after = client.post("/", content=b"a")

    assert (before, after.status_code, after.content) == (b"a", 503, b"away")


def test_a_head_request_gets_no_body() -> None:
    with serving(lambda _: Response(b"four")) as server:
        answer = httpx.head(server.url)

    assert (answer.headers["content-length"], answer.content) == ("4", b"")
