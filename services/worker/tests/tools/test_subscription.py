"""One read of a source: the messages that are settled, and those that come again."""

from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import ToolContext, ToolError


@pytest.fixture
async def js(nats_url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(nats_url)
    yield client.jetstream()
    await client.close()


@pytest.fixture
async def stream(js: JetStreamContext, bus_prefix: str) -> str:
    await js.add_stream(name=bus_prefix, subjects=[f"{bus_prefix}.>"])
    await js.add_consumer(
        bus_prefix, durable_name="reader", ack_policy="explicit", ack_wait=PATIENCE_SECONDS
    )
    for number in range(3):
        await js.publish(f"{bus_prefix}.new", b'{"n": %d}' % number, headers={"X-A": "b"})
    return bus_prefix


async def poll(toolbox: ToolRegistry, nats_url: str, **config: Any) -> dict[str, Any]:
    context = ToolContext(variables={}, execution_id=7, step="s", server_url="", toolbox=toolbox)
    wanted = {"source": "nats", "url": nats_url, "consumer": "reader", "timeout_ms": 200, **config}
    return (await toolbox.run("subscription", wanted, context)).data


async def test_messages_are_peeked_at_taken_and_gone(
    toolbox: ToolRegistry,
    nats_url: str,
    js: JetStreamContext,
    stream: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wait_ms = int(PATIENCE_SECONDS * 1000)
    monkeypatch.setattr("noetl_worker.tools.subscription._LONGEST_WAIT_MS", wait_ms)
    # It is over as soon as there are so many.
    so_many = {"stream": stream, "timeout_ms": wait_ms}
    peeked = await poll(toolbox, nats_url, **so_many, ack="peek", batch=2)
    taken = await poll(toolbox, nats_url, **so_many, batch=3)
    nothing = await poll(toolbox, nats_url, stream=stream)

    assert (peeked["count"], peeked["acked"], peeked["ack_mode"]) == (2, False, "peek")
    assert peeked["ack_ids"] == [one["id"] for one in peeked["messages"]]
    assert sorted(one["data"]["n"] for one in taken["messages"]) == [0, 1, 2]
    assert taken["messages"][0]["headers"]["x-a"] == "b"
    assert (taken["acked"], taken["ack_mode"], taken["ack_ids"]) == (True, "on_success", [])
    assert "ack_id" not in taken["messages"][0]
    assert taken["metrics"] == {"noetl_subscription_messages_fetched_total": 3, "source": "nats"}
    assert nothing["count"] == 0

    async def is_acked() -> bool:
        return (await js.consumer_info(stream, "reader")).num_ack_pending == 0

    await eventually(is_acked)


async def test_what_is_wrong_is_named(toolbox: ToolRegistry, nats_url: str, stream: str) -> None:
    cases = (
        ({"source": "fax"}, "Unknown or unavailable subscription source 'fax'. Available: kafka"),
        ({"stream": None}, r"subscription\[nats\] requires 'stream'"),
        ({"stream": f"{stream}-no"}, r"no stream '.*-no'"),
        ({"stream": stream, "consumer": "nobody"}, "no consumer 'nobody' of stream"),
        ({"stream": stream, "ack": "later"}, "unknown variant `later`"),
        ({"stream": stream, "operation": "push"}, "unknown variant `push`"),
        (
            {"stream": stream, "url": "nats://127.0.0.1:1"},
            r"Execution failed: subscription\[nats\]",
        ),
    )
    for config, text in cases:
        with pytest.raises(ToolError, match=text):
            await poll(toolbox, nats_url, **config)
