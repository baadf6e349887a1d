"""References of results, and results in the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec import Raw
from noetl_bus.broker import Bus, connect
from noetl_bus.inbox import Incoming
from noetl_bus.settings import NatsSettings
from noetl_common.ids import SnowflakeIds
from noetl_contract.json import encode, parse
from noetl_contract.rpc.projector import (
    RESULT_GET,
    RESULT_PUT,
    RESULT_RESOLVE,
    NamedResult,
    ResultPut,
    ResultRef,
)
from noetl_pg.database import Database
from noetl_projector.results.bodies.places import open_places
from noetl_projector.results.handlers import ResultHandlers
from noetl_projector.results.store import ResultStore
from noetl_projector.results.uri import InvalidUri, ResultUri
from noetl_testkit.bus import flush
from noetl_testkit.postgres import Database as DatabaseAddress
from pydantic import SecretStr

from services.projector.tests.conftest import Ask, make_settings


@pytest.fixture
async def ask(database: DatabaseAddress, db: Database, nats_url: str) -> AsyncIterator[Ask]:
    settings = make_settings(database, nats_url=nats_url)
    async with connect(settings, name="test") as bus:
        handlers = ResultHandlers(
            ResultStore(db),
            bus=bus,
            settings=settings,
            ids=SnowflakeIds(7),
            places=open_places(settings, bus),
        )
        yield Ask(handlers.handlers())


def raw(data: object) -> Raw:
    return Raw(encode(data))


DIGEST = "0a1952e4361b61e16dbdcac2e26925e489c8bc81fe637ea3f5af424f0fe882af"


async def test_a_result_is_found_by_its_uri_and_by_name(ask: Ask) -> None:
    data = {"rows": [1, 2, 3]}

    kept = (
        await ask(RESULT_PUT, ResultPut(execution_id=4, result_id=9, name="fetch", data=raw(data)))
    ).body

    assert kept == {
        "ref": "noetl://execution/4/result/fetch/9",
        "store": "db",
        "scope": "execution",
        "bytes": 16,
        "sha256": DIGEST,
        "expires_at": None,
    }
    assert (await ask(RESULT_RESOLVE, ResultRef(ref=kept["ref"]))).body == data
    assert (await ask(RESULT_GET, NamedResult(execution_id=4, name="fetch"))).body["data"] == data


async def test_w13_the_same_id_again_is_the_same_result(ask: Ask) -> None:
    for _ in range(2):
        await ask(RESULT_PUT, ResultPut(execution_id=4, result_id=9, name="a", data=raw("first")))

    assert (
        await ask(RESULT_RESOLVE, ResultRef(ref="noetl://execution/4/result/a/9"))
    ).body == "first"


async def test_a_result_of_megabytes_is_kept(ask: Ask) -> None:
    data = {"text": "x y " * (3 << 19)}

    kept = (await ask(RESULT_PUT, ResultPut(execution_id=4, name="big", data=raw(data)))).body

    assert kept["bytes"] > 6 << 20
    assert (await ask(RESULT_RESOLVE, ResultRef(ref=kept["ref"]))).body == data


@asynccontextmanager
async def offered(sender: Bus, data: bytes) -> AsyncIterator[str]:
    """Offer a body on a subject."""
    answers: set[asyncio.Task[None]] = set()
    inbox = sender.inbox()
    place = inbox.fresh_subject()

    def offer(incoming: Incoming) -> None:
        answers.add(asyncio.create_task(sender.reply(incoming.reply, data)))

    inbox.register(place, offer)
    await flush(sender)
    yield place


async def test_w13_what_does_not_fit_a_message_is_fetched_in_parts(ask: Ask, nats_url: str) -> None:
    data = ["x y " * 250] * 20_000
    settings = NatsSettings(nats_url=SecretStr(nats_url))
    async with connect(settings, name="sender") as sender, offered(sender, encode(data)) as place:
        kept = (await ask(RESULT_PUT, ResultPut(execution_id=4, name="big", data_at=place))).body

    assert kept["bytes"] == len(encode(data))
    assert (await ask(RESULT_RESOLVE, ResultRef(ref=kept["ref"]))).body == data


async def test_integers_of_a_result_keep_their_digits(ask: Ask) -> None:
    data = {"n": [1 << 80, -(1 << 70)]}
    kept = (await ask(RESULT_PUT, ResultPut(execution_id=4, name="big", data=raw(data)))).body

    assert (await ask(RESULT_RESOLVE, ResultRef(ref=kept["ref"]))).body == data


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000 + b"]" * 100_000, b"[1", b'"\xff"', rb'"\ud800"', b"NaN", b""],
    ids=["deep nesting", "half of JSON", "no UTF-8", "half of a pair", "NaN", "nothing"],
)
async def test_what_is_no_json_is_refused(ask: Ask, data: bytes, nats_url: str) -> None:
    settings = NatsSettings(nats_url=SecretStr(nats_url))
    async with connect(settings, name="sender") as sender, offered(sender, data) as place:
        refused = await ask(RESULT_PUT, ResultPut(execution_id=4, name="a", data_at=place))

    assert refused.status == 422
    assert str(refused.error).startswith("The result can't be stored: ")


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        (rb'"a\u0000b\u0000"', "a\ufffdb\ufffd"),
        (rb'"a\\u0000\\\u0000"', "a\\u0000\\\ufffd"),
        (b"1" + 400 * b"0", 10**400),
        (b"[" * 300 + b"]" * 300, ...),
        (b'{"a":"' + rb"\\" * (2 << 20) + b'"}', ...),
    ],
    ids=["NUL", "backslashes before NUL", "a huge integer", "300 levels", "backslashes"],
)
async def test_what_is_json_is_stored_as_it_was_sent(ask: Ask, data: bytes, stored: object) -> None:
    kept = (await ask(RESULT_PUT, ResultPut(execution_id=4, name="a", data=Raw(data)))).body
    found = bytes((await ask(RESULT_RESOLVE, ResultRef(ref=kept["ref"]))).raw_body)

    assert found == data if stored is ... else parse(found) == stored


async def test_stored_json_is_compact(ask: Ask) -> None:
    kept = (
        await ask(RESULT_PUT, ResultPut(execution_id=4, name="a", data=Raw(b'{"n": [1,\n 2]}')))
    ).body

    found = await ask(RESULT_RESOLVE, ResultRef(ref=kept["ref"]))

    assert bytes(found.raw_body) == b'{"n":[1,2]}'


async def test_a_result_may_be_null_but_not_absent(ask: Ask) -> None:
    null = await ask(RESULT_PUT, ResultPut(execution_id=4, name="a", data=raw(None)))
    absent = await ask(RESULT_PUT, ResultPut(execution_id=4, name="a"))

    assert (null.status, null.body["bytes"]) == (200, 4)
    assert absent.status == 422


async def test_what_is_not_there_is_404(ask: Ask) -> None:
    reply = await ask(RESULT_RESOLVE, ResultRef(ref="noetl://execution/4/result/a/1"))

    assert (reply.status, reply.error) == (404, "result not found")


@pytest.mark.parametrize(
    "text",
    [
        "http://x",
        "noetl://execution/1/result/2",
        "noetl://execution/x/result/a/2",
        "noetl://execution/1/results/a/2",
        "noetl://execution/1/result//2",
        f"noetl://execution/{1 << 70}/result/a/2",
    ],
)
def test_a_malformed_uri_names_itself(text: str) -> None:
    with pytest.raises(InvalidUri) as caught:
        ResultUri.parse(text)

    assert text in str(caught.value)


def test_a_name_may_contain_slashes() -> None:
    uri = ResultUri.parse("noetl://execution/1/result/a/b/2")

    assert (uri.name, str(uri)) == ("a/b", "noetl://execution/1/result/a/b/2")
