"""From the start of an execution to its end, over both protocols."""

from noetl_contract.sharding import shard_for

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.playbooks import LOOP
from services.orchestrator.tests.shard import Shard

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
