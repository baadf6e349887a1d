"""The nats tool against a real server."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import nats
import pytest
from nats.js import JetStreamContext
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.tools.nats.nats import Nats
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import ToolContext, ToolError


@dataclass
class Broker:
    url: str
    js: JetStreamContext
    names: str
    tool: Nats
    context: ToolContext

    async def call(self, operation: str, **config: Any) -> Any:
        config = {"operation": operation, "url": self.url, **config}
        return (await self.tool.run(config, self.context)).data


@pytest.fixture
async def broker(nats_url: str, bus_prefix: str, toolbox: ToolRegistry) -> AsyncIterator[Broker]:
    client = await nats.connect(nats_url)
    context = ToolContext(
        variables={"n": 5}, execution_id=7, step="s", server_url="", toolbox=toolbox
    )
    try:
        tool = Nats(seconds=PATIENCE_SECONDS, most=10_000)
        yield Broker(nats_url, client.jetstream(), bus_prefix, tool, context)
    finally:
        await client.close()


@pytest.mark.parametrize("value", ["text", {"a": [1, "ü"]}, 5, False, "12 monkeys"])
async def test_a_key_gives_back_what_was_put(broker: Broker, value: Any) -> None:
    await broker.js.create_key_value(bucket=broker.names)
    where = {"bucket": broker.names, "key": "a.b"}

    put = await broker.call("kv_put", **where, value=value)
    got = await broker.call("kv_get", **where)

    assert put == {"status": "success", **where, "revision": 1}
    assert got == {"status": "success", **where, "value": value}


@pytest.mark.parametrize("operation", ["kv_delete", "kv_purge"])
async def test_a_deleted_key_is_not_found(broker: Broker, operation: str) -> None:
    await broker.js.create_key_value(bucket=broker.names)
    where = {"bucket": broker.names, "key": "k"}
    for _ in range(2):
        await broker.call("kv_put", **where, value="{{ n }}")

    assert await broker.call(operation, **where) == {"status": "success", **where}

    assert await broker.call("kv_get", **where) == {
        "status": "not_found",
        **where,
        "value": None,
    }


async def test_keys_are_listed_by_pattern(broker: Broker) -> None:
    await broker.js.create_key_value(bucket=broker.names)
    bucket = {"bucket": broker.names}
    assert (await broker.call("kv_keys", **bucket))["count"] == 0
    for key in ("a.one", "a.two", "b.one"):
        await broker.call("kv_put", **bucket, key=key, value="x")

    everything = await broker.call("kv_keys", **bucket)
    some = await broker.call("kv_keys", **bucket, pattern="*.one")

    assert everything["keys"] == ["a.one", "a.two", "b.one"]
    assert some == {"status": "success", **bucket, "keys": ["a.one", "b.one"], "count": 2}


async def test_objects(broker: Broker) -> None:
    await broker.js.create_object_store(broker.names)
    bucket = {"bucket": broker.names}
    where = {**bucket, "name": "dir/file"}
    assert (await broker.call("object_list", **bucket))["objects"] == []

    put = await broker.call("object_put", **where, data="grüße", description="words")
    packed = await broker.call("object_put", **bucket, name="raw", data="AP8=", encoding="base64")
    got = await broker.call("object_get", **where)
    raw = await broker.call("object_get", **bucket, name="raw", encoding="base64")
    info = await broker.call("object_info", **where)
    listed = await broker.call("object_list", **bucket)
    gone = await broker.call("object_delete", **where)

    about = {"name": "dir/file", "size": 7, "description": "words", "chunks": 1}
    assert put == {"status": "success", **where, "size": 7}
    assert packed["size"] == 2
    assert got == {"status": "success", **where, "data": "grüße", "size": 7}
    assert raw["data"] == "AP8="
    assert info == {"status": "success", **bucket, **about}
    assert listed["count"] == 2
    assert about in listed["objects"]
    assert gone == {"status": "success", **where}
    assert [one["name"] for one in (await broker.call("object_list", **bucket))["objects"]] == [
        "raw"
    ]


async def test_an_object_above_the_limit_is_refused(broker: Broker) -> None:
    store = await broker.js.create_object_store(broker.names)
    await store.put("big", b"x" * 10_001)

    with pytest.raises(ToolError, match=r"object_get: 'big' has 10001 bytes, the limit is 10000$"):
        await broker.call("object_get", bucket=broker.names, name="big")


async def test_a_stream_is_published_to_and_read(broker: Broker) -> None:
    stream = broker.names
    await broker.js.add_stream(name=stream, subjects=[f"{stream}.>"])
    subject = f"{stream}.x"
    headers = {"Nats-Msg-Id": "one", "Who": "me"}

    first = await broker.call("js_publish", subject=subject, data={"n": "{{ n }}"}, headers=headers)
    again = await broker.call("js_publish", subject=subject, data={"n": 6}, headers=headers)
    await broker.call("js_publish", subject=f"{stream}.y", data="plain")
    info = await broker.call("js_stream_info", stream=stream)
    by_seq = await broker.call("js_get_msg", stream=stream, seq=1)
    by_subject = await broker.call("js_get_msg", stream=stream, subject=f"{stream}.y")
    last = await broker.call("js_get_msg", stream=stream, last=True)

    assert first == {"status": "success", "stream": stream, "seq": 1, "duplicate": False}
    assert again["duplicate"]
    assert info["config"]["subjects"] == [f"{stream}.>"]
    assert (info["state"]["messages"], info["state"]["last_seq"]) == (2, 2)
    assert by_seq == {
        "status": "success",
        "stream": stream,
        "subject": subject,
        "seq": 1,
        "data": {"n": 5},
    }
    assert by_subject == last
    assert last["data"] == "plain"


async def test_a_consumer_is_read_in_batches(broker: Broker) -> None:
    stream = broker.names
    await broker.js.add_stream(name=stream, subjects=[f"{stream}.>"])
    await broker.js.add_consumer(stream, durable_name="c", ack_policy="explicit", ack_wait=60)
    for number in range(3):
        body = json.dumps(number).encode()
        await broker.js.publish(f"{stream}.x", body, headers={"N": str(number)})
    where = {"stream": stream, "consumer": "c"}

    peeked = await broker.call("js_consume", **where, batch=1, ack=False)
    rest = await broker.call("js_consume", **where, batch=2)
    pending = (await broker.js.consumer_info(stream, "c")).num_ack_pending
    none = await broker.call("js_consume", **where, timeout_ms=50)

    assert peeked["messages"] == [
        {
            "subject": f"{stream}.x",
            "stream_seq": 1,
            "consumer_seq": 1,
            "delivered": 1,
            "pending": 2,
            "data": 0,
            "headers": {"N": "0"},
        }
    ]
    assert (peeked["acked"], rest["acked"]) == (False, True)
    assert [one["data"] for one in rest["messages"]] == [1, 2]
    assert pending == 1
    assert none == {"status": "success", **where, "count": 0, "messages": [], "acked": True}


CONFIG = "Configuration error: "


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"operation": "kv_get"}, CONFIG + "NATS KV/Object operation requires 'bucket'"),
        ({"operation": "kv_get", "bucket": "b"}, CONFIG + "NATS KV operation requires 'key'"),
        (
            {"operation": "kv_put", "bucket": "b", "key": "k"},
            CONFIG + "kv_put requires 'value'",
        ),
        (
            {"operation": "object_get", "bucket": "b"},
            CONFIG + "NATS Object operation requires 'name'",
        ),
        ({"operation": "js_publish"}, CONFIG + "js_publish requires 'subject'"),
        ({"operation": "js_consume"}, CONFIG + "js_consume requires 'stream'"),
        (
            {"operation": "js_get_msg", "stream": "s"},
            CONFIG + "js_get_msg requires 'seq', 'subject' or 'last: true'",
        ),
        (
            {"operation": "kv_get", "bucket": "b", "key": "k", "url": None},
            CONFIG + "NATS connection requires 'url' or an 'auth' credential alias with a 'url' "
            "field",
        ),
        (
            {"operation": "kv_get", "bucket": "none", "key": "k"},
            "Execution failed: Cannot open KV bucket 'none': not found",
        ),
        (
            {"operation": "object_list", "bucket": "no.name"},
            "Execution failed: Cannot open Object Store bucket 'no.name': not a valid name",
        ),
        (
            {"operation": "js_consume", "stream": "none", "consumer": "c"},
            "Execution failed: js_consume: stream 'none' not found: stream not found",
        ),
        (
            {"operation": "js_stream_info", "stream": "none"},
            "Execution failed: js_stream_info: stream not found",
        ),
    ],
)
async def test_what_cannot_be_done_raises(
    broker: Broker, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await broker.call(**config)

    assert message == str(raised.value)


async def test_an_unknown_operation_names_the_known_ones(broker: Broker) -> None:
    with pytest.raises(ToolError, match=r"^Configuration error: Unknown NATS operation 'drop'. Va"):
        await broker.call("drop")


async def test_a_server_that_is_not_there_is_named_without_its_password(broker: Broker) -> None:
    broker.url = "nats://me:secret@127.0.0.1:1"

    with pytest.raises(
        ToolError, match=r"^Execution failed: NATS connect to 'nats://127.0.0.1:1' failed: "
    ) as raised:
        await broker.call("js_stream_info", stream="s")

    assert "secret" not in str(raised.value)
    assert raised.value.failure.retryable


async def test_a_login_is_given_apart_from_the_address_and_may_be_a_secret(
    broker: Broker,
) -> None:
    parts = urlsplit(broker.url)
    broker.url = f"nats://{parts.hostname}:{parts.port}"
    await broker.js.create_key_value(bucket=broker.names)
    broker.context.secrets = {"nats-pw": parts.password or ""}
    login = {"user": parts.username, "password": "nats-pw"}

    assert (await broker.call("kv_keys", bucket=broker.names, **login))["count"] == 0

    broker.context.secrets = {}
    with pytest.raises(ToolError, match=r"NATS connect to .* failed: .*Authorization Violation"):
        await broker.call("kv_keys", bucket=broker.names, **login)
