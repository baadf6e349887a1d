"""Many messages in one call of the nats tool."""

from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.tools.nats.nats import Nats
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import ToolContext, ToolError

type Json = Any


@pytest.fixture
async def stream(nats_url: str, bus_prefix: str) -> AsyncIterator[tuple[Any, str]]:
    client = await nats.connect(nats_url)
    js = client.jetstream()
    await js.add_stream(name=bus_prefix, subjects=[f"{bus_prefix}.>"])
    try:
        yield js, bus_prefix
    finally:
        await client.close()


async def call(url: str, toolbox: ToolRegistry, rows: Json, **config: Json) -> Json:
    context = ToolContext(
        variables={"claim": {"body": {"rows": rows}}},
        execution_id=7,
        step="s",
        server_url="",
        toolbox=toolbox,
    )
    wanted = {
        "operation": "js_publish_many",
        "url": url,
        "messages_from": "claim.body.rows",
        "id_field": "outbox_id",
        "data_field": "payload",
        **config,
    }
    return (await Nats(seconds=PATIENCE_SECONDS, most=10_000).run(wanted, context)).data


async def test_each_message_is_published_once_as_it_is(
    nats_url: str, toolbox: ToolRegistry, stream: tuple[Any, str]
) -> None:
    js, name = stream
    rows = [
        {
            "outbox_id": n,
            "subject": f"{name}.{n}",
            "payload": {"code": "{{ not.ours }}", "n": n},
            "message_id": f"e:{n}",
        }
        for n in range(300)
    ]

    first = await call(nats_url, toolbox, rows)
    again = await call(nats_url, toolbox, rows[:5])

    assert first == {
        "status": "success",
        "count": 300,
        "published": list(range(300)),
        "duplicates": 0,
        "failed": [],
    }
    assert (again["published"], again["duplicates"]) == ([0, 1, 2, 3, 4], 5)
    assert (await js.stream_info(name)).state.messages == 300
    message = await js.get_msg(name, 1)
    assert b"{{ not.ours }}" in message.data


async def test_a_message_without_a_stream_is_named(
    nats_url: str, toolbox: ToolRegistry, stream: tuple[Any, str]
) -> None:
    _, name = stream
    rows = [{"outbox_id": n, "subject": f"{name}.{n}", "payload": n} for n in (1, 2)]
    rows.insert(1, {"outbox_id": 9, "subject": f"nowhere{name}", "payload": 9})

    done = await call(nats_url, toolbox, rows)

    assert done["published"] == [1, 2]
    assert [one["id"] for one in done["failed"]] == [9]
    assert done["failed"][0]["error"]


@pytest.mark.parametrize(
    ("rows", "config", "text"),
    [
        ({}, {}, "'messages_from: claim.body.rows' leads to no list"),
        ([], {"messages_from": "x.y"}, "'messages_from: x.y' leads to no list"),
        ([{"payload": 1}], {}, "message 0 has no 'subject'"),
        ([{}] * 1001, {}, "1001 messages, 1000 at most"),
    ],
)
async def test_what_is_wrong_is_refused_by_name(
    nats_url: str, toolbox: ToolRegistry, rows: Json, config: Json, text: str
) -> None:
    with pytest.raises(ToolError) as refused:
        await call(nats_url, toolbox, rows, **config)

    assert text in str(refused.value)
