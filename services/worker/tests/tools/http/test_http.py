"""The http tool against a real server on loopback."""

import asyncio
import base64
import contextlib
import gzip
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest
from noetl_worker.tools.errors import NeverBegan
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import ToolContext, ToolError, ToolResult
from tool_server import Asked, Said, tool_server
from without_descriptors import without_descriptors


def _deflate(plain: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(plain) + packer.flush()


def _packed(coding: str, size: int) -> tuple[int, dict[str, str], bytes]:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "raw": _deflate}[coding]
    name = "gzip" if coding == "gzip" else "deflate"
    return 200, {"Content-Encoding": name}, pack(b"y" * size)


_GZIP = {"Content-Encoding": "gzip"}
_FIXED: dict[str, tuple[int, dict[str, str], bytes]] = {
    "/login": (200, {"Set-Cookie": "session=1; Path=/"}, b""),
    "/moved-with-a-large-body": (302, {"Location": "/text"}, b"x" * (64 << 20)),
    "/members": (200, _GZIP, gzip.compress(b"one") + gzip.compress(b"two") + b"junk"),
    "/broken": (200, _GZIP, b"no gzip at all"),
}


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else a body waits until the head is confirmed: 40 ms on a connection that is kept.
    disable_nagle_algorithm = True

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        status, headers, data = self.respond(path, query, body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                for start in range(0, len(data), 1 << 16):
                    self.wfile.write(data[start : start + (1 << 16)])

    # The names are the standard library's.
    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = answer  # noqa: N815

    def respond(  # noqa: C901, PLR0911, PLR0912  a table of routes
        self, path: str, query: str, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        match path:
            case "/echo":
                seen = {
                    "method": self.command,
                    "query": query,
                    "body": body.decode(),
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                }
                return 200, {"Content-Type": "application/json", "X-One": "1"}, orjson.dumps(seen)
            case "/text":
                return 200, {"Content-Type": "text/plain; charset=latin-1"}, "é".encode("latin-1")
            case "/charset":
                return 200, {"Content-Type": f"text/plain; charset={query}"}, "é-".encode()
            case "/elsewhere":
                return 302, {"Location": f"http://localhost:{query}/echo"}, b""
            case "/busy":
                return 429, {"Retry-After": "7"}, b'{"error": "busy"}'
            case "/moved":
                return 302, {"Location": "/text"}, b""
            case "/round":
                return 302, {"Location": "/round"}, b""
            case "/large":
                return 200, {}, b"x" * (2 << 20)
            case "/packed":
                coding, _, size = query.partition("=")
                return _packed(coding, int(size))
            case "/chain":
                twice = gzip.compress(gzip.compress(bytes(64 << 20)))
                return 200, {"Content-Encoding": "gzip, gzip"}, twice
            case path if path in _FIXED:
                return _FIXED[path]
            case "/slow":
                self.server.released.wait(30)  # type: ignore[attr-defined]
                return 200, {}, b""
            case _:
                return int(path.removeprefix("/status/")), {}, b"no"

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.released = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


async def call(toolbox: ToolRegistry, config: dict[str, Any], **changes: Any) -> ToolResult:
    context = ToolContext(
        variables={"n": 5, "name": "é"}, execution_id=7, step="s", server_url="", toolbox=toolbox,
        **changes,
    )  # fmt: skip
    return await toolbox.run("http", config, context)


async def test_a_request_and_the_shape_of_its_result(toolbox: ToolRegistry, url: str) -> None:
    result = await call(
        toolbox,
        {
            "url": f"{url}/echo?a=1",
            "method": "POST",
            "params": {"n": "{{ n }}", "none": None, "list": [1, 2]},
            "headers": {"X-Number": "{{ n }}"},
            "json": {"name": "{{ name }}"},
        },
    )
    body = result.to_json()

    assert body.pop("duration_ms") >= 0
    assert {"status", "data", "stdout", "exit_code"} == set(body)
    assert (body["status"], body["exit_code"]) == ("success", 0)
    assert {"status_code", "headers", "body", "data"} == set(body["data"])
    assert body["data"]["data"] == body["data"]["body"]
    assert body["data"]["status_code"] == 200
    assert body["data"]["headers"]["x-one"] == "1"
    seen = body["data"]["body"]
    assert seen == orjson.loads(body["stdout"])
    assert (seen["method"], seen["query"]) == ("POST", "a=1&n=5&list=%5B1%2C2%5D")
    assert seen["body"] == '{"name":"é"}'
    assert seen["headers"]["content-type"] == "application/json"
    assert seen["headers"]["x-number"] == "5"


@pytest.mark.parametrize(
    ("config", "body", "kind"),
    [
        (
            {"form": {"a": 1, "b": "x y", "c": None}},
            "a=1&b=x+y",
            "application/x-www-form-urlencoded",
        ),
        ({"body": "raw"}, "raw", None),
        ({"body": [1]}, "[1]", "application/json"),
        ({"json": 1, "form": {"a": 1}, "body": "x"}, "1", "application/json"),
        ({"form": {"a": 1}, "body": "x"}, "a=1", "application/x-www-form-urlencoded"),
        ({"data": {"a": 1}, "payload": {"b": 2}}, "", None),
    ],
)
async def test_bodies(
    toolbox: ToolRegistry, url: str, config: dict[str, Any], body: str, kind: str | None
) -> None:
    result = await call(toolbox, {"url": f"{url}/echo", "method": "PUT", **config})

    seen = result.data["body"]
    assert (body, kind) == (seen["body"], seen["headers"].get("content-type"))


async def test_answers_that_are_no_json(toolbox: ToolRegistry, url: str) -> None:
    text = await call(toolbox, {"url": f"{url}/text"})
    binary = await call(toolbox, {"url": f"{url}/text", "response_type": "binary"})
    forced = await call(toolbox, {"url": f"{url}/echo", "response_type": "text"})
    moved = await call(toolbox, {"url": f"{url}/moved"})

    assert (text.data["body"], text.stdout) == ("é", "é")
    assert {"base64": base64.b64encode(b"\xe9").decode(), "size": 1} == binary.data["body"]
    assert binary.stdout is None
    assert isinstance(forced.data["body"], str)
    assert moved.data["body"] == "é"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"rows": [{"price": 1.5}, {"price": NaN}]}', "result.rows[1].price is NaN: "),
        (b"[1, -Infinity]", "result[1] is -Infinity: "),
    ],
)
async def test_a_body_with_a_number_that_json_lacks_raises(
    toolbox: ToolRegistry, body: bytes, why: str
) -> None:
    with tool_server(lambda _: Said(body)) as server:
        text = await call(toolbox, {"url": server.url, "response_type": "text"})
        with pytest.raises(ToolError) as raised:
            await call(toolbox, {"url": server.url})

    assert text.data["body"] == body.decode()
    assert str(raised.value).startswith(f"Result error: {why}")


async def test_blanks_around_the_value_of_a_header_are_not_sent(
    toolbox: ToolRegistry, url: str
) -> None:
    headers = {"X-Number": "Bearer {{ missing }}", "Accept": "\t"}
    result = await call(toolbox, {"url": f"{url}/echo", "headers": headers})

    assert result.status == "success"
    assert result.to_json()["data"]["body"]["headers"]["x-number"] == "Bearer"


@pytest.mark.parametrize("status", [400, 401, 404, 500, 304])
async def test_a_bad_status_is_a_soft_error(toolbox: ToolRegistry, url: str, status: int) -> None:
    result = await call(toolbox, {"url": f"{url}/status/{status}"})

    assert ("error", f"HTTP {status} response", 1) == (
        result.status,
        result.error,
        result.exit_code,
    )
    assert status == result.data["status_code"]
    kinds = {400: "client_error", 401: "auth", 404: "not_found", 500: "server_error"}
    assert result.failure is not None
    assert kinds.get(status, "client_error") == result.failure.kind
    assert f"HTTP_{status}" == result.failure.code


async def test_the_server_says_when_to_come_back(toolbox: ToolRegistry, url: str) -> None:
    result = await call(toolbox, {"url": f"{url}/busy"})

    assert result.failure is not None
    assert (
        result.failure.kind,
        result.failure.retryable,
        result.failure.retry_after,
    ) == ("rate_limit", True, 7.0)


async def test_what_does_not_answer_raises(toolbox: ToolRegistry, url: str) -> None:
    for config, kind in (
        ({"url": "http://127.0.0.1:1/"}, "connection"),
        ({"url": f"{url}/slow", "timeout_seconds": 1}, "timeout"),
        ({"url": f"{url}/slow", "timeout": 0.5}, "timeout"),
        ({"url": f"{url}/round"}, "connection"),
    ):
        with pytest.raises(ToolError, match=r"^HTTP error: ") as raised:
            await call(toolbox, config)
        assert kind == raised.value.failure.kind
        assert raised.value.failure.retryable


@pytest.mark.parametrize("may_move", [True, False])
async def test_a_request_that_no_socket_was_left_for_never_began(
    toolbox: ToolRegistry, url: str, *, may_move: bool
) -> None:
    with tool_server(lambda _: Said(b"1")) as server:
        # Whatever is loaded or opened once is there then, but no connection to the other server.
        await call(toolbox, {"url": server.url})
    with without_descriptors(), pytest.raises(ToolError, match="error sending request") as caught:
        await call(toolbox, {"url": f"{url}/text"}, may_move=may_move)
    assert isinstance(caught.value, NeverBegan) == may_move

    with pytest.raises(ToolError) as caught:
        await call(toolbox, {"url": "http://127.0.0.1:9/"}, may_move=may_move)
    assert not isinstance(caught.value, NeverBegan), "nobody listens there for anybody"


async def test_a_request_that_was_redirected_has_begun(toolbox: ToolRegistry, url: str) -> None:
    with contextlib.ExitStack() as stack:

        def answer(_asked: Asked) -> Said:
            stack.enter_context(without_descriptors())
            return Said(b"", 307, {"Location": f"{url}/text"})

        server = stack.enter_context(tool_server(answer))
        with pytest.raises(ToolError, match="attempts failed") as caught:
            await call(toolbox, {"url": server.url}, may_move=True)

    assert len(server.asked) == 1
    assert not isinstance(caught.value, NeverBegan)


async def test_too_large_an_answer_raises(toolbox: ToolRegistry, url: str) -> None:
    with pytest.raises(ToolError, match="the answer has more than 1048576 bytes"):
        await call(toolbox, {"url": f"{url}/large"})


INVALID = "Configuration error: Invalid http config: "
METHODS = "`GET`, `POST`, `PUT`, `PATCH`, `DELETE`, `HEAD`, `OPTIONS`"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, INVALID + "missing field `url`"),
        ({"url": 5}, INVALID + "invalid type: integer `5`, expected a string"),
        (
            {"url": "http://x", "method": "get"},
            INVALID + "unknown variant `get`, expected one of " + METHODS,
        ),
        (
            {"url": "http://x", "headers": None},
            INVALID + "invalid type: null, expected a map",
        ),
    ],
)  # fmt: skip
async def test_a_wrong_configuration_raises(
    toolbox: ToolRegistry, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await call(toolbox, config)

    assert message == str(raised.value)


@pytest.mark.parametrize("url_text", ["not a url", "ftp://x/", "http://", "http://x:99999/"])
async def test_a_wrong_url_raises(toolbox: ToolRegistry, url_text: str) -> None:
    with pytest.raises(ToolError, match=r"^HTTP error: "):
        await call(toolbox, {"url": url_text})


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "bearer", "token": "t"}, "authorization", "Bearer t"),
        ({"type": "bearer", "credential": "c"}, "authorization", "Bearer known"),
        ({"type": "basic", "username": "u", "password": "p"}, "authorization", "Basic dTpw"),
        ({"type": "api_key", "token": "t"}, "x-api-key", "t"),
        ({"type": "api_key", "credential": "c", "header": "X-K"}, "x-k", "known"),
        ({"type": "none"}, "authorization", None),
    ],
)
async def test_inline_auth(
    toolbox: ToolRegistry, url: str, auth: dict[str, Any], header: str, value: str | None
) -> None:
    result = await call(toolbox, {"url": f"{url}/echo"}, auth=auth, secrets={"c": "known"})

    assert value == result.data["body"]["headers"].get(header)


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({"type": "bearer"}, "Bearer auth requires 'token' or 'credential'"),
        ({"type": "bearer", "credential": "x"}, "Credential 'x' not found in context"),
        ({"type": "basic", "username": "u"}, "Basic auth requires 'password'"),
        ({"type": "basic", "password": "p"}, "Basic auth requires 'username'"),
        ({"type": "api_key"}, "API key auth requires 'token' or 'credential'"),
        ({"type": "gcp_adc", "scopes": "x"}, "'scopes' is not a list of texts"),
    ],
)
async def test_auth_that_is_not_there_raises(
    toolbox: ToolRegistry, url: str, auth: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await call(toolbox, {"url": f"{url}/echo"}, auth=auth)

    assert f"Authentication error: {message}" == str(raised.value)


async def test_the_auth_of_a_step_wins_over_a_login_in_the_address(
    toolbox: ToolRegistry, url: str
) -> None:
    """`server_url` has one, the capability of the command."""
    address = url.replace("://", "://384.7:secret@") + "/echo"
    own = await call(toolbox, {"url": address}, auth={"type": "bearer", "token": "mine"})
    none = await call(toolbox, {"url": address})

    assert own.data["body"]["headers"]["authorization"] == "Bearer mine"
    assert none.data["body"]["headers"]["authorization"].startswith("Basic ")


async def test_auth_inside_a_pipeline_is_applied(toolbox: ToolRegistry, url: str) -> None:
    task = {"kind": "http", "url": f"{url}/echo", "auth": {"type": "bearer", "token": "t"}}
    context = ToolContext(variables={}, execution_id=7, step="s", server_url="", toolbox=toolbox)

    result = await toolbox.run("task_sequence", {"tool_config": [{"a": task}]}, context)

    assert result.data["a"]["body"]["headers"]["authorization"] == "Bearer t"


@pytest.mark.parametrize(
    "auth", [{"type": "oauth2"}, {"source": {"type": "x"}}, {}, {"type": ["bearer"]}]
)
async def test_auth_of_no_known_type_inside_a_pipeline_is_an_unknown_key(
    toolbox: ToolRegistry, url: str, auth: dict[str, Any]
) -> None:
    task = {"kind": "http", "url": f"{url}/echo", "auth": auth}
    context = ToolContext(variables={}, execution_id=7, step="s", server_url="", toolbox=toolbox)

    result = await toolbox.run("task_sequence", {"tool_config": [{"a": task}]}, context)

    assert result.status == "success"
    assert "authorization" not in result.data["a"]["body"]["headers"]


async def test_requests_run_side_by_side(toolbox: ToolRegistry, url: str) -> None:
    results = await asyncio.gather(*(call(toolbox, {"url": f"{url}/echo"}) for _ in range(20)))

    assert {"success"} == {result.status for result in results}


async def test_cookies_of_one_call_are_not_sent_with_the_next(
    toolbox: ToolRegistry, url: str
) -> None:
    await call(toolbox, {"url": f"{url}/login"})
    result = await call(toolbox, {"url": f"{url}/echo"})

    assert "cookie" not in result.data["body"]["headers"]


async def peak_of(toolbox: ToolRegistry, config: dict[str, Any]) -> tuple[ToolResult | None, int]:
    """The result and the most memory it took."""
    tracemalloc.start()
    try:
        try:
            result = await call(toolbox, config)
        except ToolError:
            result = None
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_the_body_of_a_redirect_is_not_read(toolbox: ToolRegistry, url: str) -> None:
    result, peak = await peak_of(toolbox, {"url": f"{url}/moved-with-a-large-body"})

    assert result is not None
    assert result.data["body"] == "é"
    assert peak < 16 << 20


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw"])
async def test_a_packed_answer_is_unpacked_up_to_the_limit(
    toolbox: ToolRegistry, url: str, coding: str
) -> None:
    good = await call(toolbox, {"url": f"{url}/packed?{coding}=1048576"})

    assert good.data["body"] == "y" * 1_048_576
    with pytest.raises(ToolError, match="the answer has more than 1048576 bytes"):
        await call(toolbox, {"url": f"{url}/packed?{coding}=1048577"})


async def test_several_members_and_junk_after_them(toolbox: ToolRegistry, url: str) -> None:
    result = await call(toolbox, {"url": f"{url}/members"})

    assert result.data["body"] == "onetwo"


async def test_a_broken_packing_raises(toolbox: ToolRegistry, url: str) -> None:
    with pytest.raises(ToolError, match=r"^HTTP error: "):
        await call(toolbox, {"url": f"{url}/broken"})


async def test_an_answer_packed_several_times_stays_packed(toolbox: ToolRegistry, url: str) -> None:
    result = await call(toolbox, {"url": f"{url}/chain", "response_type": "binary"})

    assert result.data["body"]["size"] < 1 << 16


@pytest.mark.parametrize("name", ["idna", "punycode", "undefined", "unicode_escape", "hex", "no"])
async def test_a_charset_that_is_none_is_not_used(
    toolbox: ToolRegistry, url: str, name: str
) -> None:
    result = await call(toolbox, {"url": f"{url}/charset?{name}"})

    assert result.value["body"] == "é-"


@pytest.mark.parametrize(("path", "shown"), [("elsewhere?{port}", False), ("echo", True)])
async def test_another_host_never_sees_an_api_key(
    toolbox: ToolRegistry, url: str, path: str, *, shown: bool
) -> None:
    target = f"{url}/{path.format(port=url.rpartition(':')[2])}"
    auth = {"type": "api_key", "token": "k-123", "header": "X-Secret"}

    result = await call(toolbox, {"url": target}, auth=auth)

    assert ("x-secret" in result.value["body"]["headers"]) is shown


@pytest.mark.parametrize(("path", "shown"), [("elsewhere?{port}", False), ("echo", True)])
async def test_another_host_never_sees_a_header_that_is_a_secret(
    toolbox: ToolRegistry, url: str, path: str, *, shown: bool
) -> None:
    target = f"{url}/{path.format(port=url.rpartition(':')[2])}"
    headers = {"X-Api-Key": "k-123", "X-Amz-Security-Token": "t", "X-Request-Id": "7"}

    result = await call(toolbox, {"url": target, "headers": headers})

    seen = result.value["body"]["headers"]
    assert ("x-api-key" in seen, "x-amz-security-token" in seen) == (shown, shown)
    assert seen["x-request-id"] == "7"


async def test_a_playbook_does_not_say_how_a_body_ends(toolbox: ToolRegistry, url: str) -> None:
    headers = {
        "Transfer-Encoding": "chunked",
        "content-length": "1",
        "Connection": "upgrade, x-request-id",
        "Upgrade": "h2c",
        "X-Request-Id": "7",
    }

    result = await call(
        toolbox, {"url": f"{url}/echo", "method": "POST", "body": "hello", "headers": headers}
    )

    seen = result.value["body"]["headers"]
    assert "transfer-encoding" not in seen
    assert "upgrade" not in seen
    assert (seen["content-length"], seen["x-request-id"]) == ("5", "7")
