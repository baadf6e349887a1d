"""References of results, and results in the database."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from noetl_bus.broker import connect
from noetl_bus.inbox import Incoming
from noetl_bus.settings import NatsSettings
from noetl_common.ids import SnowflakeIds
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


DIGEST = "0a1952e4361b61e16dbdcac2e26925e489c8bc81fe637ea3f5af424f0fe882af"


async def test_a_result_is_found_by_its_uri_and_by_name(ask: Ask) -> None:
    data = {"rows": [1, 2, 3]}

    kept = (
        await ask(RESULT_PUT, ResultPut(execution_id=4, result_id=9, name="fetch", data=data))
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
        await ask(RESULT_PUT, ResultPut(execution_id=4, result_id=9, name="a", data="first"))

    assert (
        await ask(RESULT_RESOLVE, ResultRef(ref="noetl://execution/4/result/a/9"))
    ).body == "first"


async def test_a_result_of_megabytes_is_kept(ask: Ask) -> None:
    data = {"text": "x y " * (3 << 19)}

    kept = (await ask(RESULT_PUT, ResultPut(execution_id=4, name="big", data=data))).body

    assert kept["bytes"] > 6 << 20
    assert (await ask(RESULT_RESOLVE, ResultRef(ref=kept["ref"]))).body == data


async def test_w13_what_does_not_fit_a_message_is_fetched_in_parts(ask: Ask, nats_url: str) -> None:
    data = ["x y " * 250] * 20_000
    settings = NatsSettings(nats_url=SecretStr(nats_url))
    async with connect(settings, name="sender") as sender:
        answers: set[asyncio.Task[None]] = set()
        inbox = sender.inbox()
        place = inbox.fresh_subject()

        def offer(incoming: Incoming) -> None:
            answers.add(asyncio.create_task(sender.reply(incoming.reply, orjson.dumps(data))))

        inbox.register(place, offer)
        await flush(sender)
        kept = (await ask(RESULT_PUT, ResultPut(execution_id=4, name="big", data_at=place))).body

    assert kept["bytes"] == len(orjson.dumps(data))
    assert (await ask(RESULT_RESOLVE, ResultRef(ref=kept["ref"]))).body == data


async def test_integers_of_a_result_keep_their_digits(ask: Ask) -> None:
    data = {"n": [1 << 80, -(1 << 70)]}
    kept = (await ask(RESULT_PUT, ResultPut(execution_id=4, name="big", data=data))).body

    assert (await ask(RESULT_RESOLVE, ResultRef(ref=kept["ref"]))).body == data


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("data", [10**400, nested(300)], ids=["a huge integer", "deep nesting"])
async def test_what_readers_could_not_read_is_refused(ask: Ask, data: object) -> None:
    refused = await ask(RESULT_PUT, ResultPut(execution_id=4, name="a", data=data))

    assert refused.status == 422
    assert str(refused.error).startswith("The result can't be stored: ")


async def test_stored_json_is_compact(ask: Ask) -> None:
    kept = (await ask(RESULT_PUT, ResultPut(execution_id=4, name="a", data={"n": [1, 2]}))).body

    found = await ask(RESULT_RESOLVE, ResultRef(ref=kept["ref"]))

    assert bytes(found.raw_body) == b'{"n":[1,2]}'


async def test_a_result_may_be_null_but_not_absent(ask: Ask) -> None:
    null = await ask(RESULT_PUT, ResultPut(execution_id=4, name="a", data=None))
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
