"""From the start of an execution to its end, over both protocols."""

import dataclasses
from typing import TYPE_CHECKING

import orjson
from msgspec import convert
from noetl_common.bus.publish import PubAck, read_ack
from noetl_common.bus.topology import ensure_durable
from noetl_contract.commands import CommandNotification, decode_notification
from noetl_contract.sharding import shard_for
from noetl_contract.streams import COMMANDS, COMMITS, pool_durable
from noetl_contract.subjects import COMMITS_ROOT, published_filter, published_row
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.playbooks import LOOP
from services.orchestrator.tests.shard import Shard

if TYPE_CHECKING:
    from noetl_common.bus.inbox import Incoming

RUN = ["command.claimed", "command.started", "call.done", "command.completed"]


async def test_a_linear_playbook_runs_over_the_fast_path(shard: Shard) -> None:
    await shard.open_replica()

    execution_id = await shard.start()
    answers = []
    for _ in range(2):
        command = await shard.command(execution_id)
        answers.append(await shard.send(execution_id, shard.fast(command, "command.start")))
        answers.append(await shard.send(execution_id, shard.fast(command)))

    assert answers == [{"status": "held"}, {"status": "ok"}] * 2
    types = await shard.types(execution_id)
    assert types[:6] == ["playbook_started", "command.issued", *RUN]
    assert types[-5:] == [*RUN, "playbook.completed"]
    state = await shard.state(execution_id)
    assert state is not None
    assert (state["status"], state["position"]) == ("COMPLETED", len(types))
    assert (state["total_steps"], state["completed_steps"], state["running_steps"]) == (2, 2, 0)
    assert state["ended_at"] is not None


async def test_a_linear_playbook_runs_over_http(shard: Shard) -> None:
    await shard.open_replica()

    execution_id = await shard.start()
    for _ in range(2):
        command = await shard.command(execution_id)
        claim = await shard.claim(command)
        assert claim["status"] == 200
        assert claim["body"]["event_id"] == command.event_id
        for event_type in ("command.started", "call.done", "command.completed"):
            event = shard.event(command, event_type, attempts=0)
            answer = await shard.send(execution_id, event)
            assert answer["body"] == {
                "status": "ok",
                "event_id": event["events"][0]["event_id"],
                "commands_generated": 0,
            }

    types = await shard.types(execution_id)
    assert types[-5:] == [*RUN, "playbook.completed"]
    rows = await shard.pool.fetch("SELECT status, attempt, worker_id FROM noetl.command")
    assert [tuple(row) for row in rows] == [("COMPLETED", 1, "w1")] * 2


async def test_a_loop_gathers_its_iterations(shard: Shard) -> None:
    await shard.open_replica()

    execution_id = await shard.start(LOOP)
    for number, command in enumerate(await shard.open_commands(execution_id)):
        await shard.send(execution_id, shard.fast(command, data={"data": number}))
    last = await shard.command(execution_id)
    issued = next(row for row in await shard.log(execution_id) if row["event_id"] == last.event_id)

    gathered = issued["context"]["tool_config"]["args"]["all"]
    assert len(gathered) == 3
    await shard.send(execution_id, shard.fast(last))
    assert (await shard.types(execution_id))[-1] == "playbook.completed"


async def test_a_command_leaves_with_the_hint_whole_and_without_itself_in_its_row(
    shard: Shard,
) -> None:
    await shard.open_replica()

    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await eventually(lambda: shard.hints)

    (hinted,) = shard.hints
    notification = convert(hinted["payload"], CommandNotification)
    assert notification.fast is not None
    assert notification.fast.command is not None
    assert notification.fast.until is not None
    assert notification.fast.command.action == "noop"
    assert notification.server_url == f"http://{execution_id}.{command.event_id}@localhost:8082"
    assert hinted["message_id"] == f"c:{command.event_id}:0"
    assert hinted["subject"] == f"noetl.commands.shared.{execution_id}"
    row = await shard.pool.fetchrow("SELECT * FROM noetl.outbox WHERE kind = 'command'")
    assert row is not None
    assert row["outbox_id"] == hinted["outbox_id"]
    assert row["payload"]["fast"] == {"v": 1, "shard": 0, "attempts": 0}


async def test_a_command_of_a_pool_with_one_durable_is_published_right_after_its_commit(
    shard: Shard,
) -> None:
    replica = await shard.open_replica()
    acknowledged: list[Incoming] = []
    await shard.bus.subscribe(published_filter(0), acknowledged.append)
    await ensure_durable(shard.bus, pool_durable("shared"))
    await replica.rooms.pools.look()

    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await eventually(lambda: acknowledged)

    stored = await shard.bus.js.get_msg(COMMANDS.name, 1)
    notification = decode_notification(stored.data or b"")
    assert notification.event_id == command.event_id
    assert notification.fast is not None
    assert notification.fast.command is not None
    # The relay gets the broker's word for it.
    assert shard.hints == []
    told = {published_row(ack.subject): read_ack(ack, ack.subject) for ack in acknowledged}
    outbox_id = await shard.pool.fetchval("SELECT outbox_id FROM noetl.outbox")
    assert told == {(outbox_id, f"c:{command.event_id}:0"): PubAck(COMMANDS.name, 1)}


async def test_a_pool_with_two_durables_is_left_to_the_relay(shard: Shard) -> None:
    replica = await shard.open_replica()
    spec = pool_durable("shared")
    for name in (spec.name, "another"):
        await ensure_durable(shard.bus, dataclasses.replace(spec, name=name))
    await replica.rooms.pools.look()

    await shard.start()
    await eventually(lambda: shard.hints)

    assert (await shard.bus.js.stream_info(COMMANDS.name)).state.messages == 0


async def test_a_commit_is_announced_by_its_positions_without_a_row(shard: Shard) -> None:
    await shard.open_replica()

    execution_id = await shard.start()
    await eventually(lambda: _count(shard, COMMITS.name, 1))

    # Nobody outside wants these events, so it goes out without the relay.
    message = await shard.bus.js.get_msg(COMMITS.name, 1)
    assert message.subject == f"noetl_commits.0.{execution_id}"
    assert orjson.loads(message.data or b"") == {
        "execution_id": str(execution_id),
        "first": 1,
        "last": 2,
    }
    assert await shard.pool.fetch("SELECT FROM noetl.outbox WHERE kind != 'command'") == []


async def test_a_commit_that_outside_readers_want_an_event_of_has_a_row(shard: Shard) -> None:
    await shard.open_replica(outbox_event_types="playbook_started")

    execution_id = await shard.start()

    (row,) = await shard.pool.fetch(
        "SELECT message_id, payload FROM noetl.outbox WHERE kind = 'commit'"
    )
    assert tuple(row) == (f"l:{execution_id}:2", {"first": 1, "last": 2})


async def test_an_orchestrator_that_may_not_publish_commits_leaves_them_to_the_relay(
    shard: Shard,
) -> None:
    """Its login has the rights of the release before."""
    replica = await shard.open_replica()
    replica.bus.forbidden.add(COMMITS_ROOT)

    await shard.start()
    await eventually(lambda: {hint["kind"] for hint in shard.hints} == {"commit", "command"})

    assert (await shard.bus.js.stream_info(COMMITS.name)).state.messages == 0


async def _count(shard: Shard, stream: str, wanted: int) -> bool:
    return bool((await shard.bus.js.stream_info(stream)).state.messages == wanted)


async def test_events_that_outside_readers_want_travel_with_the_hint(shard: Shard) -> None:
    await shard.open_replica(outbox_event_types="all")

    execution_id = await shard.start()
    await eventually(lambda: len(shard.hints) == 2)

    (hinted,) = [row for row in shard.hints if row["kind"] == "commit"]
    events = hinted["payload"]["events"]
    assert [event["event_type"] for event in events] == ["playbook_started", "command.issued"]
    assert {event["execution_id"] for event in events} == {str(execution_id)}


async def test_for_outside_publishers_each_event_has_a_row(shard: Shard) -> None:
    await shard.open_replica(outbox_relay_events=False)

    execution_id = await shard.start()

    stored = await shard.pool.fetch(
        "SELECT message_id, payload FROM noetl.outbox WHERE kind = 'event' ORDER BY message_id"
    )
    assert [tuple(row) for row in stored] == [
        (f"e:{execution_id}:{position}", None) for position in (1, 2)
    ]


async def test_a_large_command_is_not_inlined(shard: Shard) -> None:
    await shard.open_replica(fast_path_max_bytes=2000)

    await shard.start(payload={"text": "x" * 3000})
    await eventually(lambda: shard.hints)

    (hinted,) = shard.hints
    assert "command" not in hinted["payload"]["fast"]


async def test_a_claim_may_leave_the_execution_out(shard: Shard) -> None:
    await shard.open_replica()

    execution_id = await shard.start()
    command = await shard.command(execution_id)

    assert (await shard.claim(command, with_execution=False))["status"] == 200


async def test_a_claim_of_an_unknown_command_is_refused_for_good(shard: Shard) -> None:
    """Not 404: a worker would get the command again forever (F15)."""
    await shard.open_replica()
    unknown = Command(shard.ids.next(), shard.ids.next(), "x", "start")
    known = await shard.command(await shard.start())
    other = Command(known.execution_id, shard.ids.next(), "x", "start")

    answers = [
        await shard.claim(unknown),
        await shard.claim(unknown, with_execution=False),
        await shard.claim(other),
    ]

    assert [answer["status"] for answer in answers] == [409] * 3
    assert {answer["detail"]["code"] for answer in answers} == {"already_terminal"}


async def test_s4_a_claim_of_another_shard_is_not_refused_for_good(shard: Shard) -> None:
    await shard.open_replica(shard_count=2)
    elsewhere = next(one for one in iter(shard.ids.next, 0) if shard_for(one, shard_count=2) == 1)

    claim = await shard.claim(Command(elsewhere, 1, "x", "start"))

    assert claim["status"] == 503


async def test_a_claim_over_messages_tells_shard_and_attempts(shard: Shard) -> None:
    await shard.open_replica()

    command = await shard.command(await shard.start())
    claim = await shard.claim(command, instance="i1")

    assert claim["body"]["fast"] == {"v": 1, "shard": 0, "attempts": 0}


async def test_a_playbook_that_cannot_be_parsed_refuses_the_start(shard: Shard) -> None:
    await shard.open_replica()
    message = shard.start_message("apiVersion: noetl.io/v1\nkind: Playbook\n")

    answer = await shard.send(message["execution_id"], message)

    assert answer["status"] in {400, 422}
    assert answer["error"]
    assert await shard.state(message["execution_id"]) is None


async def test_a_start_step_that_cannot_be_rendered_refuses_the_start(shard: Shard) -> None:
    await shard.open_replica()
    message = shard.start_message(LOOP, payload={"items": 5})

    answer = await shard.send(message["execution_id"], message)

    assert answer["status"] == 422
    assert answer["error"] == "start step loop.in must resolve to a JSON array, got: number"
    assert await shard.pool.fetchval("SELECT count(*) FROM noetl.event") == 0


async def test_finalize_and_cancel_answer_as_the_contract_says(shard: Shard) -> None:
    await shard.open_replica()
    first, second = await shard.start(), await shard.start()

    finalized = await shard.send(
        first,
        {"type": "finalize", "execution_id": first, "status": "FAILED", "error": "by operator"},
    )
    cancelled = await shard.send(second, {"type": "cancel", "execution_id": second})
    again = await shard.send(second, {"type": "cancel", "execution_id": second})

    assert finalized["body"]["status"] == "FAILED"
    assert cancelled["body"]["status"] == "cancelled"
    assert cancelled["body"]["cancelled_executions"] == [str(second)]
    assert (again["status"], again["error"]) == (422, "Cannot cancel execution in CANCELLED state")
    statuses = await shard.pool.fetch("SELECT status FROM noetl.command")
    assert {row["status"] for row in statuses} == {"CANCELLED"}


async def test_unknown_executions_are_answered(shard: Shard) -> None:
    await shard.open_replica()
    unknown = shard.ids.next()

    cancel = await shard.send(unknown, {"type": "cancel", "execution_id": unknown})
    event = {"event_type": "call.done", "step": "start"}
    posted = await shard.send(
        unknown, {"type": "events", "execution_id": unknown, "events": [event]}
    )

    assert (cancel["status"], posted["status"]) == (404, 404)
    assert cancel["error"] == f"Execution not found: {unknown}"
