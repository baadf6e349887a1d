"""Requests of pages are kept with the login of an edge, and refused with that of another."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.pages.requests import NoRightError, PageRequests
from noetl_bus import jetstream
from noetl_bus.broker import connect
from noetl_contract.pages import PageRequest, PageResult
from noetl_contract.streams import PAGES
from noetl_testkit.bus import nats_settings
from noetl_testkit.nats import NatsServer, running_nats

REQUEST = PageRequest(
    request_id="r-1",
    client_id="page",
    owner="key:me",
    execution_id=7,
    path="demo/hello",
    created_at="2026-06-15T09:18:22Z",
)
RESULT = PageResult(request_id="r-1", execution_id="7", status="COMPLETED", data=1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with running_nats(tmp_path / "nats") as running:
        yield running


async def test_an_edge_s_login_is_enough(server: NatsServer) -> None:
    settings = nats_settings(server.instance.url_of("api-gateway"))
    async with connect(settings, name="edge") as bus:
        pages = PageRequests(bus)
        assert await pages.find("r-1") is None
        number = await pages.keep(REQUEST)
        found = await pages.find("r-1")
        is_delivered = await pages.end(REQUEST, RESULT)
        kept, last = await pages.read("page", after=0)
        nothing, _ = await pages.read("page", after=last)
        other, _ = await pages.read("pag", after=0)
        await pages.drop(number)
        dropped = await pages.find("r-1")
        # A broken message belongs to no request.
        await bus.publish("noetl_pages.page.r-2.8.request", b"{", message_id="x")
        broken = await pages.find("r-2")

    assert found == REQUEST
    assert (is_delivered, kept, nothing, other) == (False, [REQUEST, RESULT], [], [])
    assert (dropped, broken) == (None, None)


async def test_a_login_without_the_right_is_told_what_it_lacks(server: NatsServer) -> None:
    settings = nats_settings(server.instance.url_of("catalog"))
    async with connect(settings, name="edge") as bus:
        pages = PageRequests(bus)
        with pytest.raises(NoRightError, match="noetl-server nats-users"):
            await pages.keep(REQUEST)
        with pytest.raises(NoRightError):
            await pages.read("page", after=0)
        # An edge that stops hinting goes on.
        await pages.tell(REQUEST, {})


async def test_what_the_broker_does_not_take_is_refused_by_name(server: NatsServer) -> None:
    async with connect(nats_settings(server.instance.url_of("noetl")), name="edge") as bus:
        pages = PageRequests(bus)
        await pages.keep(REQUEST)
        large = RESULT.but(data="x" * (9 << 20))
        with pytest.raises(Refusal) as too_large:
            await pages.end(REQUEST, large)
        info = await jetstream.call(bus, f"STREAM.INFO.{PAGES.name}")
        assert info is not None
        small = {**info["config"], "max_bytes": 1024}
        await jetstream.call(bus, f"STREAM.UPDATE.{PAGES.name}", small)
        more = REQUEST.but(request_id="r-2", path="x" * 1000)
        with pytest.raises(Refusal) as full:
            await pages.keep(more)

    assert too_large.value.status == 413
    assert (full.value.status, full.value.text) == (503, "Too many requests of pages are kept")
