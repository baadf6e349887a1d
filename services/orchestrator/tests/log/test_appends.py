"""Rows without a decision take positions like all others (W12)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from noetl_bus.rpc import RpcClient, serve_rpc
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject
from noetl_orchestrator.log.append_handlers import LogHandlers
from noetl_orchestrator.log.appends import Appends
from noetl_pg.database import Database
from noetl_testkit.waiting import PATIENCE_SECONDS

from services.orchestrator.tests.shard import Shard

type Ask = Callable[..., Awaitable[RpcReply]]

STRANGER = 99991781514562


@pytest.fixture
async def ask(shard: Shard) -> AsyncIterator[Ask]:
    replica = await shard.open_replica()
    handlers = LogHandlers(
        Appends(Database(shard.pool)),
        on_moved=replica.rooms.replicas.forget_and_tell,
        new_id=shard.ids.next,
        settings=replica.settings,
    )
    client = RpcClient(shard.bus)

    async def asked(operation: str, **request: Json) -> RpcReply:
        subject = rpc_subject("orchestrator", operation, shard=0)
        return await client.call(subject, request, seconds=PATIENCE_SECONDS)

    async with serve_rpc(shard.bus, handlers.handlers(), queue="test", shard=0):
        yield asked


def envelope(number: int, **fields: Json) -> JsonObject:
    return {
        "event_id": number,
        "execution_id": STRANGER,
        "event_type": "validation.test",
        "status": "COMPLETED",
        **fields,
    }


async def test_new_rows_are_projected_and_known_ones_counted(ask: Ask, shard: Shard) -> None:
    first = await ask("log.project", events=[envelope(2, catalog_id=7), envelope(1), envelope(2)])
    again = await ask("log.project", events=[envelope(1), envelope(3)])

    assert first.body == {"projected": 2, "duplicates": 1}
    assert again.body == {"projected": 1, "duplicates": 1}
    rows = await shard.log(STRANGER)
    assert [(row["event_id"], row["catalog_id"]) for row in rows] == [(2, 7), (1, 7), (3, 7)]
    assert await shard.pool.fetchval("SELECT count(*) FROM noetl.outbox") == 0


async def test_columns_of_an_envelope_are_stored(ask: Ask, shard: Shard) -> None:
    await ask(
        "log.project",
        events=[
            envelope(
                1,
                created_at="2026-06-15T11:18:22.5+02:00",
                parent_event_id=9,
                node_id="n",
                node_name="s",
                node_type="t",
                error="e",
                stack_trace="t",
                duration=1.5,
                context={"a": 1},
                result=None,
                meta={"b": 2},
                tenant_id="acme",
                worker_id="ignored",
            )
        ],
    )

    (row,) = await shard.log(STRANGER)
    assert row["created_at"].isoformat() == "2026-06-15T09:18:22.500000"
    assert (row["parent_event_id"], row["duration"], row["error"]) == (9, 1.5, "e")
    assert (row["context"], row["result"], row["meta"]) == ({"a": 1}, None, {"b": 2})
    assert (row["tenant_id"], row["organization_id"]) == ("acme", "default")
    assert row["worker_id"] is None


async def test_one_bad_row_refuses_the_batch_and_nothing_is_written(ask: Ask, shard: Shard) -> None:
    reply = await ask("log.project", events=[envelope(1), envelope(2, result={"data": 1})])

    assert reply.status == 422
    assert "chk_event_result_shape" in (reply.error or "")
    assert await shard.log(STRANGER) == []


async def test_a_running_execution_goes_on_behind_projected_rows(ask: Ask, shard: Shard) -> None:
    execution_id = await shard.start()
    for _ in ("start", "second"):
        command = await shard.command(execution_id)
        stray = {"execution_id": execution_id, "event_type": "playbook.failed"}
        await ask("log.project", events=[envelope(shard.ids.next(), **stray)])
        await shard.send(execution_id, shard.fast(command))

    state = await shard.state(execution_id)
    rows = await shard.log(execution_id)
    assert state["status"] == "COMPLETED"
    assert state["position"] == len(rows)
    assert {row["catalog_id"] for row in rows} == {state["catalog_id"]}


async def test_writers_of_one_log_take_different_positions(ask: Ask, shard: Shard) -> None:
    replies = await asyncio.gather(
        *(ask("log.project", events=[envelope(n), envelope(n + 1)]) for n in range(0, 40, 2))
    )

    assert {tuple((reply.body or {}).values()) for reply in replies} == {(2, 0)}
    assert len(await shard.log(STRANGER)) == 40


async def test_a_subscription_walks_through_its_states(ask: Ask, shard: Shard) -> None:
    begun = {"subscription_id": 71, "path": "subscriptions/orders", "catalog_id": 9}
    first = (await ask("subscription.register", **begun)).body
    again = (await ask("subscription.register", **{**begun, "subscription_id": 72})).body
    refused = await ask("subscription.change", subscription_id=71, action="pause")
    for action in ("activate", "pause", "resume", "drain", "deactivate"):
        last = await ask("subscription.change", subscription_id=71, action=action)
    anew = (await ask("subscription.register", **{**begun, "subscription_id": 73})).body

    assert first == again
    assert {**first, "updated_at": ""} == {
        "subscription_id": "71",
        "path": "subscriptions/orders",
        "catalog_id": "9",
        "state": "REGISTERED",
        "last_event_type": "subscription.registered",
        "updated_at": "",
    }
    assert refused.status == 422
    assert (refused.error or "").startswith("Cannot 'pause' a subscription in state 'REGISTERED' (")
    assert (refused.error or "").endswith('(allowed from ["ACTIVE", "PAUSED"])')
    assert (last.body["state"], anew["subscription_id"]) == ("DEACTIVATED", "73")
    rows = await shard.log(71)
    assert [row["event_type"].partition(".")[2] for row in rows] == [
        "registered",
        "activated",
        "paused",
        "resumed",
        "draining",
        "deactivated",
    ]
    assert {(row["node_name"], row["catalog_id"]) for row in rows} == {("subscriptions/orders", 9)}
    assert rows[1]["context"] == {
        "subscription_id": "71",
        "path": "subscriptions/orders",
        "catalog_id": "9",
    }


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        ({"subscription_id": 5, "action": "pause"}, 404, "Subscription 5 not registered"),
        ({"subscription_id": 5, "action": "x"}, 422, "Unknown subscription action 'x'"),
    ],
)
async def test_a_change_is_refused_by_name(
    ask: Ask, request_: JsonObject, status: int, text: str
) -> None:
    reply = await ask("subscription.change", **request_)

    assert (reply.status, reply.error) == (status, text)


async def test_registrations_of_a_path_at_once_make_one(ask: Ask) -> None:
    replies = await asyncio.gather(
        *(
            ask("subscription.register", subscription_id=n, path="p", catalog_id=1)
            for n in range(1, 9)
        )
    )

    assert len({reply.body["subscription_id"] for reply in replies}) == 1


async def test_events_for_a_log_without_playbook_need_a_first_row(ask: Ask, shard: Shard) -> None:
    event = {"event_type": "subscription.message.received", "step": "ingress", "event_id": 5}
    posted = {"execution_id": 71, "events": [{**event, "worker_id": "w"}]}
    unknown = await ask("log.post", **posted)
    await ask("subscription.register", subscription_id=71, path="p", catalog_id=9)

    known = await ask("log.post", **posted)
    again = await ask("log.post", **posted)

    assert (unknown.status, unknown.error) == (404, "Execution not found: 71")
    assert known.body == again.body == {"status": "ok", "event_id": 5, "commands_generated": 0}
    row = (await shard.log(71))[1]
    assert (row["status"], row["catalog_id"]) == ("RUNNING", 9)
    assert row["meta"] == {"actionable": True, "informative": True, "worker_id": "w"}
