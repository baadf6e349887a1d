"""A credential goes where step, credential and plug-in let it go, and the module never has it."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from noetl_contract.json import JsonObject
from noetl_contract.plugins.document import PluginLimits
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.tools.tool import ToolError, ToolResult
from tool_server import Asked, Said, ToolServer, tool_server
from wasm_modules import World, asks, module, plugin, world

SECRET = 'value-of-"the"/secret'
PLAIN = "value-of"
"""A part of it that looks the same in JSON."""
LIMITS = PluginLimits(fuel=100_000_000)


@pytest.fixture
async def here(interpreters: InterpreterPool) -> AsyncIterator[World]:
    async with world(interpreters, worker_http_body_bytes=1 << 20) as found:
        yield found


def host_of(server: ToolServer) -> str:
    return server.url.removeprefix("http://")


def lent(*hosts: str, **more: Any) -> JsonObject:
    """Return the context of a step that lets its plug-in send its secret to hosts."""
    auth = {"type": "bearer", "credential": "api", **({"hosts": list(hosts)} if hosts else {})}
    return {"auth": {**auth, **more}, "secrets": {"api": SECRET}}


async def sent(here: World, *requests: JsonObject, version: int = 1, **given: Any) -> ToolResult:
    """Send requests from a module that may reach the test's server and `allowed`."""
    allowed = [host_of(here.server), *given.pop("allowed", [])]
    body = plugin(asks(*requests), version=version, allowed_hosts=allowed, limits=LIMITS)
    return await here.run(body, **(given or lent(host_of(here.server))))


async def refused(here: World, *requests: JsonObject, **given: Any) -> str:
    with pytest.raises(ToolError) as raised:
        await sent(here, *requests, **given)
    assert PLAIN not in str(raised.value)
    return str(raised.value).rpartition("p/x@1 was ended: ")[2]


def shown(result: ToolResult) -> str:
    return orjson.dumps([result.to_json(), result.http]).decode()


def arrived(server: ToolServer) -> list[str | None]:
    """Return the login of each request that a module sent."""
    return [
        one.headers.get("authorization")
        for one in server.asked
        if not one.path.startswith("/api/executions/")
    ]


async def test_a_request_gets_the_credential_that_it_asks_for(here: World) -> None:
    url = f"{here.server.url}/x"

    with_it = await sent(here, {"url": url, "auth": True})
    without = await sent(here, {"url": url}, {"url": url, "auth": False}, version=2)

    assert arrived(here.server) == [f"Bearer {SECRET}", None, None]
    assert with_it.data["status"] == without.data["status"] == 200
    assert PLAIN not in shown(with_it)


@pytest.mark.parametrize(
    ("auth", "wanted"),
    [
        ({"type": "basic", "username": "u"}, "authorization"),
        ({"type": "api_key", "header": "X-Key"}, "x-key"),
        ({"type": "bearer"}, "authorization"),
    ],
)
async def test_what_a_host_gives_back_is_masked(here: World, auth: JsonObject, wanted: str) -> None:
    request = {"url": f"{here.server.url}/echo", "auth": True, "headers": {"X-Mine": "mine"}}

    done = await sent(here, request, **lent(host_of(here.server), **auth))

    said = here.server.asked[-1].headers[wanted]
    echoed = orjson.loads(done.data["body"])
    assert echoed["x-mine"] == "mine"
    assert "[REDACTED]" in echoed[wanted]
    assert said.split(" ")[-1] not in echoed[wanted]
    assert PLAIN not in shown(done)
    if wanted == "authorization":
        assert "[REDACTED]" in done.data["headers"]["x-echo"]


async def test_it_goes_only_where_step_credential_and_plugin_say(here: World) -> None:
    url, host = f"{here.server.url}/x", host_of(here.server)
    port = host.partition(":")[2]
    request = {"url": url, "auth": True}
    granted = {"secret_hosts": {"api": ("api.example.com", host)}}
    may_not = f"it called http with 'auth' for 'http://{host}', where 'api' may not go"

    await sent(here, request, **lent(), **granted)
    assert await refused(here, request, **lent("api.example.com"), **granted) == may_not
    assert await refused(here, request, **lent(host), secret_hosts={"api": ()}) == may_not
    assert await refused(here, request, **lent("127.0.0.1")) == may_not, "no port, no TLS"
    assert await refused(here, request, **lent(f"127.0.0.1:{int(port) - 1}")) == may_not
    assert await refused(here, request, auth=None) == (
        "it called http with 'auth', and its step has none that it may send"
    )
    assert await refused(here, {"url": url, "auth": "api"}) == (
        "it called http with an 'auth' that is neither true nor false"
    )
    assert "name in 'auth.hosts' where the plug-in sends it" in await refused(
        here, request, **lent()
    )
    assert "'auth.hosts' is no list of texts" in await refused(here, request, **lent(hosts=host))
    assert "'gcp_adc' is not lent" in await refused(here, request, auth={"type": "gcp_adc"})
    foreign = {"url": "http://localhost:1/x", "auth": True}
    assert "not in its allowed_hosts" in await refused(here, foreign, **lent("localhost:1"))
    assert arrived(here.server) == [f"Bearer {SECRET}"]


async def test_the_own_control_plane_has_a_word(interpreters: InterpreterPool) -> None:
    def answer(asked: Asked) -> Said:
        return Said({"login": asked.headers.get("authorization", "").partition("-")[0]})

    with tool_server(answer) as edge:
        async with world(interpreters, server_url=edge.url) as here:
            body = plugin(asks({"url": f"{edge.url}/x", "auth": True}), allowed_hosts=[" @server"])
            done = await here.run(body, **lent(host_of(edge)))
            other = plugin(
                asks({"url": f"{here.server.url}/x"}), version=2, allowed_hosts=["@server"]
            )
            with pytest.raises(ToolError, match="not in its allowed_hosts"):
                await here.run(other)

    assert orjson.loads(done.data["body"]) == {"login": "Bearer value"}


async def test_no_redirect_carries_it_elsewhere(here: World) -> None:
    with tool_server(lambda _: Said({})) as other:
        location = {"Location": f"{other.url}/caught"}
        known = here.server.answer
        here.server.answer = lambda asked: (
            Said(b"", status=307, headers=location) if asked.path == "/away" else known(asked)
        )
        first = {"url": f"{here.server.url}/away", "auth": True, "method": "POST", "body": "b"}
        follow = {"url": f"{other.url}/caught"}
        allowed = [host_of(other)]

        moved = await sent(here, first, allowed=allowed, **lent(host_of(here.server)))
        assert (moved.data["status"], other.asked) == (307, [])

        await sent(here, first, follow, version=2, allowed=allowed, **lent(host_of(here.server)))
        told = await refused(
            here, first, {**follow, "auth": True}, allowed=allowed, **lent(host_of(here.server))
        )

    assert arrived(other) == [None]
    assert f"for '{other.url}', where 'api' may not go" in told


async def test_headers_of_the_module_change_nothing_about_it(here: World) -> None:
    host = host_of(here.server)
    request = {
        "url": f"http://me:mine@{host}/echo",
        "auth": True,
        "headers": {
            "Authorization": "Bearer mine",
            "AUTHORIZATION": "Bearer mine too",
            "Host": "tenant.example",
            "Accept-Encoding": "br",
            "Proxy-Authorization": "Basic mine",
            "Transfer-Encoding": "chunked",
        },
    }

    await sent(here, request)

    found = here.server.asked[-1].headers
    assert found["authorization"] == f"Bearer {SECRET}"
    assert (found["host"], found["accept-encoding"]) == (host, "gzip, deflate")
    assert not {"proxy-authorization", "transfer-encoding"} & found.keys()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "a\r\nX-Evil: 1"},
        {"X-A": "a\nX-Evil: 1"},
        {"X-A\r\nX-Evil": "1"},
        {"X-A: 1\r\nX-Evil": "1"},
        {"X-A": "a\0"},
        {"": "1"},
        {"Content-Length ": "0"},
        {"X-Ä": "1"},
        {"X-A": "\ud83d\ude00"},
    ],
)
async def test_a_header_brings_no_other_one(here: World, headers: JsonObject) -> None:
    request = {"url": f"{here.server.url}/echo", "auth": True, "headers": headers}

    try:
        told = shown(await sent(here, request))
    except ToolError as error:
        told = str(error)

    assert PLAIN not in told
    assert arrived(here.server) == [], told
    assert "LocalProtocolError" in told or "can't be sent" in told


async def test_the_number_of_headers_is_bounded(here: World) -> None:
    headers: JsonObject = {f"x{n}": "" for n in range(101)}

    told = await refused(here, {"url": f"{here.server.url}/x", "headers": headers})

    assert told == "it called http with 101 headers; the limit is 100"
    assert arrived(here.server) == []


async def test_errors_are_without_it(here: World) -> None:
    request = {"url": f"{here.server.url}/x", "auth": True}
    given = lent(host_of(here.server))

    broken = await refused(here, request, **(given | {"secrets": {"api": "two\nlines-of-it"}}))
    nobody = await sent(
        here,
        {"url": "http://127.0.0.1:1/x", "auth": True},
        version=2,
        allowed=["127.0.0.1:1"],
        **lent("127.0.0.1:1"),
    )
    missing = await refused(here, request, **(given | {"secrets": {}}))

    assert broken == "Authentication error: 'api' has characters that no header can have"
    assert "ConnectError" in nobody.data["error"]
    assert PLAIN not in shown(nobody)
    assert missing == "Authentication error: Credential 'api' not found in context"


async def test_large_bodies_end_by_name(interpreters: InterpreterPool) -> None:
    bounds = {"worker_http_body_bytes": 1 << 16, "wasm_output_bytes_max": 1 << 17}
    async with world(interpreters, **bounds) as here:
        known = here.server.answer
        here.server.answer = lambda asked: (
            Said(b"x" * (1 << 17)) if asked.path == "/large" else known(asked)
        )
        answer = await sent(here, {"url": f"{here.server.url}/large", "auth": True})
        text = asks({"url": f"{here.server.url}/x", "body": "x" * (1 << 17)})
        body = plugin(text.replace('"memory") 1)', '"memory") 4)'), version=2)
        with pytest.raises(ToolError, match="bytes to a call; the limit is 131072"):
            await here.run(body.model_copy(update={"allowed_hosts": [host_of(here.server)]}))

    assert answer.data == {"error": "the answer has more than 65536 bytes"}
    assert arrived(here.server) == [f"Bearer {SECRET}"]


@pytest.mark.parametrize(
    ("later", "wanted"),
    [
        ("(loop $l (br $l))", "its alloc failed: .*all fuel consumed"),
        (
            "(drop (call $http (i32.const 16) (i32.const %d)))",
            "its alloc failed: .*call stack exhausted",
        ),
    ],
)
async def test_an_endless_call_of_the_worker_ends(here: World, later: str, wanted: str) -> None:
    """The worker calls `alloc` for an answer, which loops, or asks for the next one."""
    request = orjson.dumps({"url": f"{here.server.url}/x"}).decode()
    call = f"(call $http (i32.const 16) (i32.const {len(request)}))"
    later = later % len(request) if "%d" in later else later
    body = plugin(
        module(call, data=request, later_alloc=later),
        allowed_hosts=[host_of(here.server)],
        limits=LIMITS,
    )
    again = plugin(asks({"url": f"{here.server.url}/x"}), version=2).model_copy(
        update={"allowed_hosts": [host_of(here.server)]}
    )

    with pytest.raises(ToolError, match=wanted):
        await here.run(body)
    assert (await here.run(again)).data["status"] == 200, "the engine is as good as before"
