"""Commands that go to a worker with the answer to the outcome of the one before."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
import pytest
from msgspec import convert
from noetl_contract.commands import CommandNotification
from noetl_contract.http.workers.pauses import PauseTarget
from noetl_contract.ingress import (
    AGAIN_HEADER,
    NEXT_HEADER,
    NEXT_NAMED,
    REPLY_HEADER,
    IngressMessage,
)
from noetl_contract.json import JsonObject
from noetl_engine.outputs import Answer
from noetl_orchestrator.turn.inputs import Caller, TurnInput
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.leases.workers import hear, sweep
from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.playbooks import LINEAR, LOOP
from services.orchestrator.tests.shard import Shard

ONCE = LINEAR.replace("- step: second", "- step: second\n    spec: {repeatable: false}")


@dataclass
class Answered:
    """An outcome that was sent, with its answer."""

    message: JsonObject
    answer: JsonObject

    @property
    def next(self) -> Command:
        """The command that came with the answer."""
        note = convert(self.answer["next"], CommandNotification)
        assert note.fast is not None
        assert note.fast.command is not None
        assert note.fast.until is not None
        return Command(note.execution_id, note.event_id, note.command_id, note.step)


async def ask(shard: Shard, message: JsonObject, *headers: str) -> Answered:
    """Send an outcome with headers and wait for the answer."""
    with shard.bus.inbox().expect() as waiter:
        marks = dict.fromkeys(headers, "1")
        await shard.publish(
            message["execution_id"], message, headers={REPLY_HEADER: waiter.subject, **marks}
        )
        return Answered(message, orjson.loads(await waiter.wait(PATIENCE_SECONDS)))


async def first_outcome(shard: Shard, playbook: str = LINEAR) -> Answered:
    """Start an execution, and report its first command from a worker that has room."""
    execution_id = await shard.start(playbook)
    command = await shard.command(execution_id)
    return await ask(shard, shard.fast(command), NEXT_HEADER)


async def row_of(shard: Shard, command: Command) -> str | None:
    """Return the state of a command's outbox row, if it has one."""
    found: str | None = await shard.pool.fetchval(
        "SELECT status FROM noetl.outbox WHERE kind = 'command'"
        " AND available_at <= now() AND execution_id = $1 AND event_id = $2",
        command.execution_id,
        command.event_id,
    )
    return found


async def handed_for(shard: Shard, command: Command) -> int | None:
    """Return the command with whose outcome a command was dispatched, until it is reported."""
    row = await shard.command_row(command)
    reported: int | None = row["handed_for"]
    return reported if row["status"] == "PENDING" else None


async def pass_time(shard: Shard, *, minutes: float) -> None:
    """Let commands have been issued, and notified of, earlier."""
    await shard.pool.execute(
        "UPDATE noetl.command SET created_at = created_at - $1::INTERVAL,"
        " notified_at = notified_at - $1::INTERVAL",
        timedelta(minutes=minutes),
    )


async def test_the_answer_brings_the_next_command_and_nobody_else_gets_it(shard: Shard) -> None:
    await shard.open_replica()

    first = await first_outcome(shard)

    assert first.answer["status"] == "ok"
    row = await shard.command_row(first.next)
    assert row["handed_for"] == first.message["hold"]["event_id"]
    until = row["notified_at"] - row["created_at"]
    assert timedelta(seconds=30) <= until < timedelta(seconds=31)
    assert await row_of(shard, first.next) is None

    second = await ask(shard, shard.fast(first.next), NEXT_HEADER)

    assert second.answer == {"status": "ok"}
    assert (await shard.types(first.next.execution_id))[-1] == "playbook.completed"
    assert await handed_for(shard, first.next) is None
    assert await row_of(shard, first.next) is None
    assert shard.notifications(first.next) == []


async def test_without_the_wish_a_command_goes_its_way(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    answered = await ask(shard, shard.fast(command))

    assert answered.answer == {"status": "ok"}
    issued = await shard.command(execution_id)
    await eventually(lambda: shard.notifications(issued))
    assert await handed_for(shard, issued) is None
    assert await row_of(shard, issued) == "PENDING"


@pytest.mark.parametrize(
    ("playbook", "settings"),
    [(LINEAR, {"fast_path_max_bytes": 0}), (LINEAR, {"fast_path_enabled": False}), (ONCE, {})],
    ids=["too large to travel inside", "fast path off", "may run once only"],
)
async def test_what_has_to_be_claimed_is_not_handed_over(
    shard: Shard, playbook: str, settings: JsonObject
) -> None:
    await shard.open_replica(**settings)

    first = await first_outcome(shard, playbook)

    assert first.answer == {"status": "ok"}
    issued = await shard.command(first.message["execution_id"])
    await eventually(lambda: shard.notifications(issued))


async def test_a_start_takes_the_command_as_an_outcome_does(shard: Shard) -> None:
    await shard.open_replica()
    first = await first_outcome(shard)

    held = await shard.send(first.next.execution_id, shard.fast(first.next, "command.start"))

    assert held == {"status": "held"}
    assert await handed_for(shard, first.next) is None
    assert await row_of(shard, first.next) is None


async def test_a_late_outcome_gets_no_command(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await shard.send(execution_id, shard.fast(command))

    late = await ask(shard, shard.fast(command, worker="w2", instance="i2"), NEXT_HEADER)

    assert late.answer["status"] == "late"
    assert "next" not in late.answer


async def test_a_copy_without_effect_gets_no_command(shard: Shard) -> None:
    """Its sender gave it up, and the copy that was taken went through the stream."""
    replica = await shard.open_replica()
    execution_id = await shard.start(LOOP)
    first, *others = await shard.open_commands(execution_id)
    outcome = shard.fast(first, data={"data": 0})
    assert await shard.send(execution_id, outcome) == {"status": "ok"}
    answered = asyncio.Queue[Answer]()

    class Sender(Caller):
        async def answered(self, answer: Answer) -> None:
            answered.put_nowait(answer)

    # Both are there before the turn begins; the last outcome issues a command.
    for message, wanted_next in [
        *((shard.fast(other, data={"data": 1}), None) for other in others),
        (outcome, NEXT_NAMED),
    ]:
        replica.rooms.dispatcher.submit(
            TurnInput(
                execution_id,
                convert(message, IngressMessage),
                Sender(),
                wanted_next=wanted_next,
            )
        )
    bodies = [(await asyncio.wait_for(answered.get(), PATIENCE_SECONDS)).body for _ in range(3)]

    assert bodies == [{"status": "ok"}] * 3
    last = await shard.command(execution_id)
    assert await handed_for(shard, last) is None
    await eventually(lambda: shard.notifications(last), what="it is published")


async def test_workers_of_a_loop_get_different_commands(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start(LOOP)
    answers = [
        await ask(shard, shard.fast(command, data={"data": number}), NEXT_HEADER)
        for number, command in enumerate(await shard.open_commands(execution_id))
    ]

    # The step behind the loop comes with the last one's.
    assert ["next" in one.answer for one in answers] == [False, False, True]


async def test_w25_what_was_handed_to_a_worker_that_died_is_published(shard: Shard) -> None:
    replica = await shard.open_replica(fast_path_seconds=0.1)

    first = await first_outcome(shard)

    async def is_published() -> bool:
        await replica.rooms.sweeper.sweep_unclaimed()
        return await row_of(shard, first.next) == "PENDING"

    await eventually(is_published, what="the sweep puts it into the outbox")
    assert await handed_for(shard, first.next) is None
    await eventually(lambda: shard.notifications(first.next), what="it is published")
    assert len(shard.notifications(first.next)) == 1
    claim = await shard.claim(first.next, worker="w2")
    assert claim["status"] == 200


async def test_w25_what_may_still_be_started_is_left_to_its_worker(shard: Shard) -> None:
    replica = await shard.open_replica()
    first = await first_outcome(shard)

    await replica.rooms.sweeper.sweep_unclaimed()

    assert await row_of(shard, first.next) is None
    assert await handed_for(shard, first.next) is not None


async def test_w25_what_a_pause_withholds_is_published_when_it_is_over(shard: Shard) -> None:
    replica = await shard.open_replica()
    first = await first_outcome(shard)
    target = PauseTarget(kind="pool", name="shared")
    replica.rooms.pauses.update([target])
    await pass_time(shard, minutes=1)

    await replica.rooms.sweeper.sweep_unclaimed()
    withheld = await row_of(shard, first.next)
    replica.rooms.pauses.update([])
    await pass_time(shard, minutes=1)
    await replica.rooms.sweeper.hand_out()

    assert withheld is None
    assert await row_of(shard, first.next) == "PENDING"


@pytest.mark.parametrize(
    ("now", "is_released"),
    [
        ({"process_age": 0, "instance": "i2"}, True),
        ({"deregistered": True}, True),
        ({"process_age": 0, "instance": "i1"}, False),
        ({"process_age": 60, "instance": "i0"}, False),
        ({"worker": "w2", "process_age": 0, "instance": "i2"}, False),
    ],
    ids=["another process", "it has left", "the same process", "old news", "another worker"],
)
async def test_w25_what_was_handed_to_a_process_that_is_gone_is_published_at_once(
    shard: Shard, now: dict[str, Any], *, is_released: bool
) -> None:
    replica = await shard.open_replica()
    first = await first_outcome(shard)
    await hear(shard, replica, **now)

    await sweep(replica)

    assert (await handed_for(shard, first.next) is None) == is_released
    assert await row_of(shard, first.next) == ("PENDING" if is_released else None)
    if is_released:
        await eventually(lambda: shard.notifications(first.next), what="it is published")


@pytest.mark.parametrize("replaced", [False, True], ids=["same replica", "another replica"])
async def test_w25_an_outcome_that_comes_again_lets_others_have_the_command(
    shard: Shard, *, replaced: bool
) -> None:
    replica = await shard.open_replica()
    first = await first_outcome(shard)
    if replaced:
        replica.rooms.cache.forget(first.next.execution_id)

    again = await ask(shard, first.message, AGAIN_HEADER, NEXT_HEADER)

    assert again.answer == {"status": "ok"}
    await eventually(lambda: shard.notifications(first.next), what="it is published")
    assert await handed_for(shard, first.next) is None
    assert await row_of(shard, first.next) == "PENDING"
    third = await ask(shard, shard.fast(first.next), NEXT_HEADER)
    assert third.answer == {"status": "ok"}
    assert (await shard.types(first.next.execution_id))[-1] == "playbook.completed"


async def test_w25_a_turn_that_is_tried_again_hands_nothing_over(shard: Shard) -> None:
    """It may be committed, so the dispatched command is released: no worker gets it twice."""
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    async def break_off() -> bool:
        return bool(
            await shard.pool.fetchval(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        )

    async with shard.pool.acquire() as held, held.transaction():
        await held.execute("LOCK TABLE noetl.command IN EXCLUSIVE MODE")
        asking = asyncio.create_task(ask(shard, shard.fast(command), NEXT_HEADER))
        await eventually(break_off, what="the commit is broken off")
    answered = await asking

    assert answered.answer == {"status": "ok"}
    issued = await shard.command(execution_id)
    await eventually(lambda: shard.notifications(issued), what="it goes its way")
    assert await handed_for(shard, issued) is None
    assert await row_of(shard, issued) == "PENDING"


async def test_a_copy_without_a_mark_is_known_for_one_too(shard: Shard) -> None:
    await shard.open_replica()
    first = await first_outcome(shard)

    again = await ask(shard, first.message, NEXT_HEADER)

    assert again.answer == {"status": "ok"}
    await eventually(lambda: shard.notifications(first.next), what="it is published")


async def test_a_late_outcome_that_comes_again_leaves_the_command_to_its_worker(
    shard: Shard,
) -> None:
    """It had no command with its answer; the run that was taken has it, and may have begun it."""
    await shard.open_replica()
    first = await first_outcome(shard)
    hold = first.message["hold"]
    names = (hold["event_id"], hold["command_id"], hold["step"])
    command = Command(first.next.execution_id, *names)
    late = shard.fast(command, worker="w2", instance="i2")

    # What follows an answer is done before the next turn of the execution.
    for _ in range(2):
        answered = await ask(shard, late, AGAIN_HEADER)
        assert answered.answer["status"] == "late"

    assert await handed_for(shard, first.next) == command.event_id
    assert shard.notifications(first.next) == []


async def test_a_cancelled_execution_leaves_nothing_to_publish(shard: Shard) -> None:
    await shard.open_replica()
    first = await first_outcome(shard)

    await shard.send(
        first.next.execution_id,
        {"type": "cancel", "execution_id": first.next.execution_id, "reason": "test"},
    )

    assert await row_of(shard, first.next) is None
    assert await handed_for(shard, first.next) is None


async def test_w25_an_outcome_that_comes_several_times_in_a_turn_releases_its_command_once(
    shard: Shard,
) -> None:
    await shard.open_replica()
    first = await first_outcome(shard)

    again = await asyncio.gather(
        *(ask(shard, first.message, AGAIN_HEADER, NEXT_HEADER) for _ in range(8))
    )

    assert [one.answer for one in again] == [{"status": "ok"}] * 8
    await eventually(lambda: shard.notifications(first.next), what="it is published")
    assert len(shard.notifications(first.next)) == 1
    third = await ask(shard, shard.fast(first.next), NEXT_HEADER)
    assert third.answer == {"status": "ok"}
