"""Answers with secrets are sealed for who asks."""

from collections.abc import AsyncIterator

import orjson
import pytest
from noetl_bus.broker import Bus, connect
from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable, handle, serve_rpc
from noetl_common.crypto.sealed import SealingKey
from noetl_contract.http.secrets.credentials import CredentialBody, CredentialRead
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import CREDENTIAL_GET
from noetl_testkit.bus import flush, nats_settings
from noetl_testkit.waiting import PATIENCE_SECONDS

SECRET = "never-in-clear"
WANTED = CredentialRead(identifier="pg", include_data=True)
HEADER = "Noetl-Seal-For"


async def answer(request: CredentialRead) -> CredentialBody | Refusal:
    if request.identifier != "pg":
        return Refusal(404, f"no {SECRET}")
    return CredentialBody(
        id="1",
        name="pg",
        type="postgres",
        data={"password": SECRET},
        created_at="2026-06-15T12:00:00Z",
        updated_at="2026-06-15T12:00:00Z",
    )


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with (
        connect(nats_settings(nats_url), name="test") as bus,
        serve_rpc(bus, [handle(CREDENTIAL_GET, answer)], queue="catalog"),
    ):
        yield bus


async def test_who_reads_the_brokers_messages_reads_no_secret(bus: Bus) -> None:
    heard: list[bytes] = []
    listening = await bus.subscribe("_INBOX_noetl.>", lambda incoming: heard.append(incoming.data))
    client = RpcClient(bus)

    found = await client.ask(CREDENTIAL_GET, WANTED, seconds=PATIENCE_SECONDS)
    with pytest.raises(RpcRefused, match=SECRET):
        await client.ask(
            CREDENTIAL_GET, CredentialRead(identifier="other"), seconds=PATIENCE_SECONDS
        )
    await flush(bus)
    await listening.unsubscribe()

    assert found.data == {"password": SECRET}
    assert len(heard) == 2
    assert not any(SECRET.encode() in data for data in heard)


async def test_a_request_without_a_key_is_answered_in_clear(bus: Bus) -> None:
    body = WANTED.model_dump_json().encode()
    answer = await bus.request(CREDENTIAL_GET.subject(), body, seconds=PATIENCE_SECONDS)

    assert orjson.loads(answer.data)["body"]["data"] == {"password": SECRET}


async def test_an_answer_in_clear_is_read(nats_url: str) -> None:
    async with connect(nats_settings(nats_url), name="test") as bus:
        reply = {"status": 200, "body": {**(await answer(WANTED)).model_dump()}}  # type: ignore[union-attr]
        listening = await bus.subscribe(
            CREDENTIAL_GET.subject(),
            lambda incoming: bus.send_nowait(incoming.reply, orjson.dumps(reply)),
        )
        found = await RpcClient(bus).ask(CREDENTIAL_GET, WANTED, seconds=PATIENCE_SECONDS)
        await listening.unsubscribe()

    assert found.data == {"password": SECRET}


async def test_an_answer_without_sense_is_told_as_one(nats_url: str) -> None:
    async with connect(nats_settings(nats_url), name="test") as bus:
        await bus.subscribe(
            CREDENTIAL_GET.subject(), lambda incoming: bus.send_nowait(incoming.reply, b"no JSON")
        )
        with pytest.raises(RpcUnavailable, match="a malformed answer"):
            await RpcClient(bus).ask(CREDENTIAL_GET, WANTED, seconds=PATIENCE_SECONDS)


@pytest.mark.parametrize("key", ["", "x", "AAAA", "A" * 43 + "="])
async def test_what_is_no_key_is_refused_without_the_secret(bus: Bus, key: str) -> None:
    body = WANTED.model_dump_json().encode()
    answer = await bus.request(
        CREDENTIAL_GET.subject(), body, headers={HEADER: key}, seconds=PATIENCE_SECONDS
    )

    assert orjson.loads(answer.data)["status"] == 400
    assert SECRET.encode() not in answer.data


async def test_an_answer_for_another_key_is_no_answer(nats_url: str) -> None:
    """Somebody in between can keep a secret from us, not give us another in its place."""
    async with (
        connect(nats_settings(nats_url), name="test") as bus,
        serve_rpc(bus, [handle(CREDENTIAL_GET, answer)], queue="catalog"),
    ):
        body = WANTED.model_dump_json().encode()
        other = {HEADER: SealingKey().public}
        sealed = await bus.request(
            CREDENTIAL_GET.subject(), body, headers=other, seconds=PATIENCE_SECONDS
        )
    async with connect(nats_settings(nats_url), name="test") as bus:
        await bus.subscribe(
            CREDENTIAL_GET.subject(),
            lambda incoming: bus.send_nowait(incoming.reply, sealed.data),
        )
        with pytest.raises(Exception, match="can't be opened"):
            await RpcClient(bus).ask(CREDENTIAL_GET, WANTED, seconds=PATIENCE_SECONDS)
