"""The rules of the write path, each by its name in the design."""

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from noetl_common.pg.errors import DatabaseUnavailable
from noetl_contract.ingress import REPLY_HEADER, CommandOutcomeMessage, EventsMessage
from noetl_engine.inputs import Cancelled, Claimed, CommandOutcome, Continued, EventsPosted, Started
from noetl_engine.outputs import Answer
from noetl_orchestrator.commit import CommitParameters
from noetl_orchestrator.store import Committed, Store
from noetl_orchestrator.work import Group, NobodyWaits, RequestKey, Work
from noetl_testkit.waiting import eventually

from .conftest import LINEAR, LOOP, Command, Replica, Shard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

type Json = Any

# An id that the messages can hold and the database can't.
TOO_LARGE = (1 << 63) + 7
# Times in which a decision should be made; on a busy machine a short one may be over before.
PATIENCE_MS = (700, 4_000, 20_000)


class Gate:
    """Stands before a replica's commits: counts them, delays them, lets them fail."""

    def __init__(self, replica: Replica) -> None:
        self.store = replica.parts.store
        self.commits = 0
        self.sizes: list[int] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        self.after: Callable[[], Awaitable[None]] | None = None
        self._commit = Store.commit_turn
        self.store.commit_turn = self.commit_turn  # type: ignore[method-assign]

    async def commit_turn(self, parameters: CommitParameters) -> Committed:
        self.commits += 1
        self.sizes.append(len(parameters.moves) + len(parameters.begins))
        if self.before is not None:
            await self.before()
        done = await self._commit(self.store, parameters)
        if self.after is not None:
            await self.after()
        return done


async def finish(shard: Shard, execution_id: int) -> None:
    """Play the worker until the execution has ended."""
    while commands := await shard.open_commands(execution_id):
        for command in commands:
            await shard.send(execution_id, shard.fast(command))


# -- W1 --------------------------------------------------------------------------------------


async def test_w1_two_replicas_never_fork_a_log(shard: Shard) -> None:
    """Events of one execution go to both replicas at once; positions stay gapless and unique."""
    for _ in range(2):
        await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    events = [shard.event(command, "command.heartbeat", attempts=0) for _ in range(60)]
    answers = await asyncio.gather(*(shard.send(execution_id, event) for event in events))
    await finish(shard, execution_id)

    assert {answer["status"] for answer in answers} == {200}
    log = await shard.log(execution_id)
    stored = [row["event_id"] for row in log if row["event_type"] == "command.heartbeat"]
    assert sorted(stored) == sorted(event["events"][0]["event_id"] for event in events)
    assert log[-1]["event_type"] == "playbook.completed"


async def test_w1_a_stale_decision_is_thrown_away_and_made_again(shard: Shard) -> None:
    first = await shard.open_replica(loops=False)
    second = await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await shard.send(execution_id, shard.event(command, "command.heartbeat"))
    # The first replica knows the execution as it was before the second goes on.
    stale = first.parts
    loops = asyncio.create_task(stale.dispatcher.run_turns(stale.turns.run))
    await first.parts.on_claim(
        {
            "execution_id": execution_id,
            "event_id": command.event_id,
            "worker_id": "w1",
            "instance": "i1",
        }
    )
    assert len(stale.cache) == 1
    await shard.send(execution_id, shard.fast(command, worker="w1", instance="i1"))
    assert second.parts.cache.get(execution_id) is not None

    answer = orjson.loads(
        await stale.on_claim(
            {
                "execution_id": execution_id,
                "event_id": command.event_id,
                "worker_id": "w9",
                "instance": "i9",
            }
        )  # type: ignore[arg-type]
    )
    loops.cancel()
    await asyncio.gather(loops, return_exceptions=True)
    await stale.store.close()

    assert (answer["status"], answer["detail"]["code"]) == (409, "already_terminal")


async def test_w1_an_answer_without_rows_rests_on_the_position_too(shard: Shard) -> None:
    """A cached state that others have moved on from refuses nothing."""
    stale = await shard.open_replica(loops=False)
    execution_id_loop = asyncio.create_task(stale.parts.dispatcher.run_turns(stale.parts.turns.run))
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    assert (await shard.claim(command, worker="w1", instance="i1"))["status"] == 200
    await shard.send(execution_id, shard.fast(command))
    second = await shard.command(execution_id)

    # Replica 0 still has the execution at the claim; there the second command is unknown.
    claim = await shard.claim(second, worker="w2", instance="i2", replica=0)
    execution_id_loop.cancel()
    await asyncio.gather(execution_id_loop, return_exceptions=True)
    await stale.parts.store.close()

    assert claim["status"] == 200


async def test_w1_what_another_replica_has_locked_is_left_out_whole(shard: Shard) -> None:
    await shard.open_replica()
    held, free = await shard.start(), await shard.start()
    commands = {one: await shard.command(one) for one in (held, free)}

    async with shard.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT FROM noetl.execution_state WHERE execution_id = $1 FOR UPDATE", held
        )
        waiting = asyncio.create_task(shard.send(held, shard.fast(commands[held])))
        assert await shard.send(free, shard.fast(commands[free])) == {"status": "ok"}
        assert len(await shard.log(held)) == 2
        assert not waiting.done()

    assert await waiting == {"status": "ok"}


class Noted(NobodyWaits):
    """A caller that keeps its answers."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    async def answered(self, answer: Answer) -> None:
        self.answers.append(answer)


def beat(shard: Shard, command: Command, caller: NobodyWaits) -> Group:
    """The input that a posted heartbeat of a command becomes."""
    message = EventsMessage.model_validate(shard.event(command, "command.heartbeat", attempts=0))
    posted = EventsPosted(tuple(message.events), batch=False)
    return Group(command.execution_id, [Work(command.execution_id, posted, caller)])


@pytest.mark.parametrize("writes", [True, False])
async def test_w1_one_commit_leaves_out_who_has_moved_on_and_nobody_else(
    shard: Shard, *, writes: bool
) -> None:
    """The position alone decides, for each execution, be there rows to append or an answer."""
    stale = await shard.open_replica(loops=False)
    turns = stale.parts.turns
    await shard.open_replica()
    moved, still = [await shard.command(await shard.start()) for _ in range(2)]
    await turns.run([beat(shard, one, Noted()) for one in (moved, still)], lambda: None)
    await shard.send(moved.execution_id, shard.fast(moved))
    # The first replica has the execution as it was before: there this command is unknown.
    second = await shard.command(moved.execution_id)
    callers = Noted(), Noted()
    behind = beat(shard, second, callers[0])
    if not writes:
        claim = Claimed(second.event_id, "w9", "i9", after_start=False, final=False)
        behind.works[0].input = claim
    gate = Gate(stale)

    postponed = await turns.run([behind, beat(shard, still, callers[1])], lambda: None)
    await stale.parts.store.close()

    assert [group.execution_id for group, _ in postponed] == [moved.execution_id]
    assert (callers[0].answers, len(callers[1].answers)) == ([], 1)
    assert gate.commits == 1
    assert await shard.types(still.execution_id) == [
        "playbook_started",
        "command.issued",
        *["command.heartbeat"] * 2,
    ]


FAN_OUT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: fan_out, path: tests/fan_out}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: many}]}
  - step: many
    loop: {in: "{{ range(5) }}", iterator: item, spec: {mode: parallel}}
    tool: {kind: noop}
"""
WRITTEN = (
    "event",
    "command",
    "execution_state",
    "execution_snapshot",
    "timer",
    "outbox",
    "request_key",
)


async def written(shard: Shard) -> dict[str, list[Any]]:
    """Return all that commits write."""
    return {
        table: await shard.pool.fetch(f"SELECT * FROM noetl.{table} ORDER BY 1, 2")
        for table in WRITTEN
    }


async def test_w1_nothing_at_all_of_a_left_out_decision_is_written(shard: Shard) -> None:
    """It would have appended, issued, changed, ended, timed, announced, kept and remembered."""
    stale = await shard.open_replica(loops=False, snapshot_min_events=1, decision_commands=2)
    turns = stale.parts.turns
    await shard.open_replica()
    command = await shard.command(await shard.start(FAN_OUT))
    execution_id = command.execution_id
    await shard.pool.execute(
        "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind, payload)"
        " VALUES (7, $1, now() + interval '1 hour', 'continue', '{}')",
        execution_id,
    )
    outcome = CommandOutcomeMessage.model_validate(shard.fast(command))
    keyed = beat(shard, command, Noted()).works[0]
    keyed.keys = (RequestKey("s", "k", 60.0),)
    busy = [
        Work(execution_id, CommandOutcome(outcome.hold, tuple(outcome.events)), Noted()),
        keyed,
        Work(execution_id, Continued(), Noted(), timer_id=7),
    ]
    ending = [Work(execution_id, Cancelled(None), Noted())]

    for works in (busy, ending):
        await turns.run([beat(shard, command, Noted())], lambda: None)
        await shard.send(execution_id, shard.event(command, "command.heartbeat", attempts=0))
        before = await written(shard)
        ((group, _),) = await turns.run([Group(execution_id, works)], lambda: None)

        assert group.works == works
        assert await written(shard) == before

    # Nor was the relay told: what it hears after this came after all that.
    await turns.run([beat(shard, command, Noted())], lambda: None)
    await stale.parts.store.close()
    announced = {row["outbox_id"] for row in (await written(shard))["outbox"]}
    await eventually(lambda: {hint["outbox_id"] for hint in shard.hints} >= announced)
    assert {hint["outbox_id"] for hint in shard.hints} == announced


# -- W2 --------------------------------------------------------------------------------------


async def test_w2_one_unstorable_row_in_a_full_batch_harms_nobody_else(shard: Shard) -> None:
    """The bad message goes to the dead letters, its execution fails, the others go on."""
    replica = await shard.open_replica(turns_in_flight=1)
    executions = [await shard.start() for _ in range(12)]
    commands = [await shard.command(one) for one in executions]
    messages = [shard.fast(command) for command in commands]
    messages[5]["events"][1]["event_id"] = TOO_LARGE
    bodies = [orjson.dumps(message) for message in messages]
    gate = Gate(replica)
    started = asyncio.Event()

    async def hold() -> None:
        gate.before = None
        started.set()
        await eventually(lambda: len(replica.parts.dispatcher) >= 11)

    gate.before = hold
    first = asyncio.create_task(shard.send(executions[0], bodies[0]))
    await started.wait()
    rest = await asyncio.gather(
        *(shard.send(one, body) for one, body in zip(executions[1:], bodies[1:], strict=True))
    )
    answers = [await first, *rest]

    assert max(gate.sizes) > 1
    assert [one["status"] for number, one in enumerate(answers) if number != 5] == ["ok"] * 11
    assert answers[5]["error"]
    for number, execution_id in enumerate(executions):
        state = await shard.state(execution_id)
        assert state is not None
        assert state["status"] == ("FAILED" if number == 5 else "RUNNING")
    types = await shard.types(executions[5])
    assert types == ["playbook_started", "command.issued", "playbook.failed"]
    assert "could not be stored" in (await shard.log(executions[5]))[-1]["error"]
    (letter,) = await shard.dead_letters()
    assert letter[1] == bodies[5]


async def test_w2_the_good_inputs_of_the_bad_execution_count(shard: Shard) -> None:
    replica = await shard.open_replica(turns_in_flight=1)
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    good = shard.event(command, "command.heartbeat")
    bad = shard.event(command, "command.heartbeat", event_id=TOO_LARGE)
    gate = Gate(replica)
    started = asyncio.Event()

    async def hold() -> None:
        gate.before = None
        started.set()
        await eventually(lambda: len(replica.parts.dispatcher) >= 2)

    gate.before = hold
    first = asyncio.create_task(shard.send(execution_id, shard.event(command, "command.heartbeat")))
    await started.wait()
    answers = await asyncio.gather(shard.send(execution_id, good), shard.send(execution_id, bad))
    await first

    assert answers[0]["body"]["status"] == "ok"
    assert answers[1]["status"] == 422
    assert (await shard.types(execution_id))[-2:] == ["command.heartbeat", "playbook.failed"]


async def test_w2_a_bad_input_waits_out_an_outage(shard: Shard) -> None:
    """The execution can't be failed just now: the turns go on, the input comes again."""
    replica = await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    fail_execution = replica.parts.store.fail_execution
    tries = 0

    async def away_once(*args: Any, **options: Any) -> int | None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise DatabaseUnavailable(reason="away")
        return await fail_execution(*args, **options)

    replica.parts.store.fail_execution = away_once  # type: ignore[method-assign]
    bad = shard.event(command, "command.heartbeat", event_id=TOO_LARGE)
    answer = await shard.send(execution_id, bad)

    assert (answer["status"], tries) == (422, 2)
    assert (await shard.types(execution_id))[-1] == "playbook.failed"


async def test_w2_a_failure_ends_what_another_replica_issues_meanwhile(shard: Shard) -> None:
    """It waits for the other's commit, and sees the command that came with it."""
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    bad = shard.event(command, "command.heartbeat", event_id=TOO_LARGE)
    async with shard.pool.acquire() as other, other.transaction():
        await other.execute(
            "UPDATE noetl.execution_state SET position = 3 WHERE execution_id = $1", execution_id
        )
        await other.execute(
            "INSERT INTO noetl.event (execution_id, catalog_id, event_id, position, event_type)"
            " VALUES ($1, 1, 7, 3, 'command.issued')",
            execution_id,
        )
        await other.execute(
            "INSERT INTO noetl.command (command_id, event_id, execution_id, catalog_id, step_name,"
            " status, meta) VALUES (7, 7, $1, 1, 'second', 'PENDING', '{\"command_id\": \"x\"}')",
            execution_id,
        )
        refusing = asyncio.create_task(shard.send(execution_id, bad))

        async def waits() -> bool:
            return bool(
                await shard.pool.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database())"
                )
            )

        await eventually(waits)
    answer = await refusing

    assert answer["status"] == 422
    assert (await shard.types(execution_id))[-1] == "playbook.failed"
    assert await shard.open_commands(execution_id) == []


async def test_w2_what_has_ended_is_not_failed_again(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await finish(shard, execution_id)
    before = await shard.types(execution_id)

    bad = shard.event(command, "command.heartbeat", event_id=TOO_LARGE)
    answer = await shard.send(execution_id, bad)

    assert answer["status"] == 422
    assert await shard.types(execution_id) == before


async def test_w2_a_claim_that_cannot_be_stored_is_its_claimers_fault_alone(
    shard: Shard,
) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    refused = await shard.claim(command, worker="w\0")
    granted = await shard.claim(command, worker="w2")

    assert (refused["status"], granted["status"]) == (422, 200)
    assert await shard.types(execution_id) == [
        "playbook_started",
        "command.issued",
        "command.claimed",
    ]


async def test_w2_nul_characters_that_come_past_the_edge_are_replaced(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    message = shard.fast(command, data={"data": {"text": "a\0b", "slash": "\\u0000"}})
    assert await shard.send(execution_id, message) == {"status": "ok"}

    (done,) = [row for row in await shard.log(execution_id) if row["event_type"] == "call.done"]
    data = done["result"]["context"]["result"]["context"]["data"]
    assert data == {"text": "a\ufffdb", "slash": "\\u0000"}


# -- W3 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_w3_the_same_event_again_is_a_repetition(
    shard: Shard, *, is_remembered: bool
) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    event = shard.event(command, "command.heartbeat")

    first = await shard.send(execution_id, event)
    if not is_remembered:
        await forget_ids(replica, execution_id)
    second = await shard.send(execution_id, event)

    assert first == second
    assert (await shard.types(execution_id)).count("command.heartbeat") == 1


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_w3_the_same_id_with_other_content_is_another_event(
    shard: Shard, *, is_remembered: bool
) -> None:
    """Two workers with one snowflake node: nothing is lost, nothing is overwritten.

    Type, command and worker all have to agree for a repetition.
    """
    replica = await shard.open_replica()
    execution_id = await shard.start(LOOP)
    command, sibling, _ = await shard.open_commands(execution_id)
    event_id = shard.ids.next()
    one = shard.event(command, "command.heartbeat", event_id=event_id)
    others = [
        shard.event(command, "command.heartbeat", event_id=event_id, worker="w2"),
        shard.event(sibling, "command.heartbeat", event_id=event_id),
        shard.event(command, "note.taken", event_id=event_id),
    ]

    answers = []
    for message in (one, *others, one):
        if not is_remembered:
            await forget_ids(replica, execution_id)
        answers.append(await shard.send(execution_id, message))

    ids = [answer["body"]["event_id"] for answer in answers]
    assert ids[0] == ids[-1] == event_id
    assert len(set(ids)) == 4
    stored = {row["event_id"]: row for row in await shard.log(execution_id)}
    assert [stored[one]["event_type"] for one in ids] == [
        *["command.heartbeat"] * 3,
        "note.taken",
        "command.heartbeat",
    ]
    assert [stored[one]["meta"]["worker_id"] for one in ids] == ["w1", "w2", "w1", "w1", "w1"]
    assert stored[ids[2]]["result"]["context"]["command_id"] == sibling.command_id


async def forget_ids(replica: Replica, execution_id: int) -> None:
    """Make the engine forget event ids, as many later events would."""
    replica.parts.cache.forget(execution_id)
    load = replica.parts.turns._loader.load

    async def load_forgetful(execution_ids: Any) -> Any:
        found = await load(execution_ids)
        for entry in found.values():
            entry.execution._memory.state.recent.clear()
        return found

    replica.parts.turns._loader.load = load_forgetful  # type: ignore[method-assign]


async def test_w3_a_late_outcome_is_stored_once(shard: Shard) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await shard.send(execution_id, shard.fast(command))
    late = shard.fast(command, worker="w2", instance="i2")

    first = await shard.send(execution_id, late)
    await forget_ids(replica, execution_id)
    second = await shard.send(execution_id, late)

    assert first == second == {"status": "late", "reason": "finished"}
    marked = [r for r in await shard.log(execution_id) if (r["meta"] or {}).get("late")]
    assert [row["event_type"] for row in marked] == ["call.done", "command.completed"]


async def test_w3_repetitions_inside_one_turn_are_answered_like_the_first(shard: Shard) -> None:
    replica = await shard.open_replica(turns_in_flight=1)
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    gate = Gate(replica)
    started = asyncio.Event()

    async def hold() -> None:
        gate.before = None
        started.set()
        await eventually(lambda: len(replica.parts.dispatcher) >= 4)

    gate.before = hold
    blocker = asyncio.create_task(
        shard.send(execution_id, shard.event(command, "command.heartbeat"))
    )
    await started.wait()
    event = shard.event(command, "call.done", attempts=0)
    end = shard.event(command, "command.completed", attempts=0)
    answers = await asyncio.gather(
        *(shard.send(execution_id, message) for message in (event, event, end, end))
    )
    await blocker

    assert answers[0] == answers[1]
    assert answers[2] == answers[3]
    assert gate.commits == 2
    types = await shard.types(execution_id)
    assert (types.count("call.done"), types.count("command.completed")) == (1, 1)


async def test_w3_equal_ids_meet_in_one_turn(shard: Shard) -> None:
    """The second gets a fresh id at once; no key has to refuse the commit first."""
    replica = await shard.open_replica(loops=False)
    await shard.open_replica()
    command = await shard.command(await shard.start())
    caller = Noted()
    first = beat(shard, command, caller)
    posted = first.works[0].input
    assert isinstance(posted, EventsPosted)
    other = posted.events[0].model_copy(update={"worker_id": "w2"})
    second = EventsPosted((other,), batch=False)
    first.works.append(Work(command.execution_id, second, caller))
    gate = Gate(replica)

    assert await replica.parts.turns.run([first], lambda: None) == []
    await replica.parts.store.close()

    assert gate.commits == 1
    ids = [answer.body["event_id"] for answer in caller.answers]
    assert ids[0] == other.event_id
    assert [row["event_id"] for row in await shard.log(command.execution_id)][2:] == ids


# -- W4 --------------------------------------------------------------------------------------


async def test_w4_garbage_is_answered_and_kept_with_its_reason(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = shard.ids.next()

    for body in (b"not json", b'{"type": "nonsense"}', b"", b"[1]"):
        answer = await shard.send(execution_id, body)
        assert (answer["status"], answer["body"]) == (422, None)
        assert answer["error"]

    letters = await shard.dead_letters()
    assert [body for _, body in letters] == [b"not json", b'{"type": "nonsense"}', b"", b"[1]"]
    assert all(any("can't be read" in v for v in headers.values()) for headers, _ in letters)
    await eventually(shard.ingress_is_empty)


async def test_w4_a_lost_answer_is_given_again(shard: Shard) -> None:
    """The answer to the first try is dropped; the same start and outcome are sent again."""
    await shard.open_replica()
    message = shard.start_message()
    execution_id = message["execution_id"]
    await shard.publish(execution_id, message)
    await eventually(shard.ingress_is_empty)

    start = await shard.send(execution_id, message)
    command = await shard.command(execution_id)
    outcome = shard.fast(command)
    await shard.publish(execution_id, outcome)
    await eventually(shard.ingress_is_empty)
    again = await shard.send(execution_id, outcome)

    assert start["body"] == {
        "execution_id": str(execution_id),
        "status": "started",
        "commands_generated": 1,
    }
    assert again == {"status": "ok"}
    types = await shard.types(execution_id)
    assert (types.count("playbook_started"), types.count("command.completed")) == (1, 1)


# -- W5 --------------------------------------------------------------------------------------


async def test_w5_a_start_past_its_deadline_is_dropped(shard: Shard) -> None:
    await shard.open_replica()
    message = shard.start_message()

    answer = await shard.send(
        message["execution_id"], message, deadline_ms=int(time.time() * 1000) - 10
    )

    assert answer["status"] == 503
    assert await shard.state(message["execution_id"]) is None


async def test_w5_the_deadline_is_tested_again_in_the_commit(shard: Shard) -> None:
    """The decision was in time, the commit is not: nothing may be written."""
    replica = await shard.open_replica()
    gate = Gate(replica)
    for milliseconds in PATIENCE_MS:
        deadline_ms = int(time.time() * 1000) + milliseconds

        async def hold(end_ms: int = deadline_ms + 20) -> None:
            await eventually(lambda: time.time() * 1000 > end_ms)

        gate.before = hold
        message = shard.start_message()
        answer = await shard.send(
            message["execution_id"], message, deadline_ms=deadline_ms, seconds=60
        )

        assert answer["status"] == 503
        assert await shard.state(message["execution_id"]) is None
        if gate.commits:
            break

    assert gate.commits == 1
    assert await shard.pool.fetchval("SELECT count(*) FROM noetl.event") == 0


async def test_w5_a_start_that_may_have_been_committed_is_dropped_too(shard: Shard) -> None:
    """The database was away over the deadline: the start is looked up once, then dropped."""
    replica = await shard.open_replica()
    gate = Gate(replica)
    deadline_ms = int(time.time() * 1000) + 500

    async def fail() -> None:
        if time.time() * 1000 > deadline_ms + 20:
            gate.before = None
        else:
            raise DatabaseUnavailable(reason="away")

    gate.before = fail
    message = shard.start_message()
    answer = await shard.send(message["execution_id"], message, deadline_ms=deadline_ms)

    assert answer["status"] == 503
    assert await shard.state(message["execution_id"]) is None


async def test_w5_a_copy_past_its_deadline_of_a_committed_start_is_answered_like_the_first(
    shard: Shard,
) -> None:
    """Both copies are seen for the first time; the second one's commit comes too late."""
    replica = await shard.open_replica()
    gate = Gate(replica)
    message = shard.start_message()
    await shard.send(message["execution_id"], message)
    first = gate.commits
    for milliseconds in PATIENCE_MS:
        replica.parts.cache.forget(message["execution_id"])
        deadline_ms = int(time.time() * 1000) + milliseconds

        async def hold(end_ms: int = deadline_ms + 20) -> None:
            await eventually(lambda: time.time() * 1000 > end_ms)

        gate.before = hold
        answer = await shard.send(
            message["execution_id"], message, deadline_ms=deadline_ms, seconds=60
        )
        if gate.commits > first:
            break

    assert (answer["status"], (answer["body"] or {}).get("status")) == (200, "started")


async def test_w5_a_redelivered_start_is_looked_up_whatever_its_deadline(shard: Shard) -> None:
    """It may have been committed in time, its answer lost; then that answer is still true."""
    replica = await shard.open_replica()
    message = shard.start_message()
    execution_id = message["execution_id"]
    await shard.send(execution_id, message)
    caller = Noted()
    again = Started(
        execution_id=execution_id,
        catalog_id=message["catalog_id"],
        path=message["path"],
        version=1,
        payload={},
    )
    over = datetime(2026, 1, 1, tzinfo=UTC)
    work = Work(execution_id, again, caller, deadline=over, is_repeated=True)

    await replica.parts.turns.run([Group(execution_id, [work])], lambda: None)

    (answer,) = caller.answers
    assert (answer.status, answer.body["status"]) == (200, "started")


@pytest.mark.parametrize("field", ["idempotency_key", "dedup_key"])
async def test_w5_a_repeated_request_finds_the_first_execution(shard: Shard, field: str) -> None:
    await shard.open_replica()
    first = shard.start_message(**{field: "k"})
    second = shard.start_message(**{field: "k"})

    await shard.send(first["execution_id"], first)
    answer = await shard.send(second["execution_id"], second)
    same = await shard.send(first["execution_id"], first)

    assert answer["body"] == {
        "execution_id": str(first["execution_id"]),
        "status": "duplicate",
        "commands_generated": 0,
    }
    assert same["body"]["status"] == "started"
    assert await shard.pool.fetchval("SELECT count(*) FROM noetl.execution_state") == 1


async def test_w5_starts_with_one_key_in_one_turn_begin_one_execution(shard: Shard) -> None:
    await shard.open_replica()
    messages = [shard.start_message(idempotency_key="k") for _ in range(8)]

    answers = await asyncio.gather(*(shard.send(m["execution_id"], m) for m in messages))

    assert sorted(a["body"]["status"] for a in answers) == ["duplicate"] * 7 + ["started"]
    assert len({a["body"]["execution_id"] for a in answers}) == 1
    assert await shard.pool.fetchval("SELECT count(*) FROM noetl.execution_state") == 1


async def test_w5_a_key_of_a_refused_start_is_free(shard: Shard) -> None:
    await shard.open_replica()
    bad = shard.start_message("kind: Playbook\n", idempotency_key="k")
    good = shard.start_message(idempotency_key="k")

    refused = await shard.send(bad["execution_id"], bad)
    started = await shard.send(good["execution_id"], good)

    assert refused["status"] in {400, 422}
    assert started["body"]["status"] == "started"


async def test_w5_a_dedup_key_is_free_after_its_window(shard: Shard) -> None:
    await shard.open_replica()
    first = shard.start_message(dedup_key="k", dedup_window_seconds=100)
    await shard.send(first["execution_id"], first)
    await shard.pool.execute("UPDATE noetl.request_key SET seen_at = now() - interval '101 s'")

    second = shard.start_message(dedup_key="k", dedup_window_seconds=100)
    answer = await shard.send(second["execution_id"], second)

    assert answer["body"]["status"] == "started"
    held = await shard.pool.fetchval("SELECT execution_id FROM noetl.request_key")
    assert held == second["execution_id"]


async def test_w5_a_repeated_batch_of_events_returns_the_first_ids(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    batch = {
        "type": "events",
        "execution_id": execution_id,
        "batch": True,
        "idempotency_key": "k",
        "events": [{"event_type": "note.taken", "step": "start"} for _ in range(2)],
    }

    first = await shard.send(execution_id, batch)
    second = await shard.send(execution_id, batch)

    assert len(first["body"]["event_ids"]) == 2
    assert first == second
    assert (await shard.types(execution_id)).count("note.taken") == 2


# -- W7 --------------------------------------------------------------------------------------


async def test_w7_a_claim_is_answered_503_only_after_its_patience(shard: Shard) -> None:
    """The row is locked: the claim can't be decided, and is not refused at once either."""
    await shard.open_replica(claim_patience_seconds=0.4)
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    async with shard.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM noetl.execution_state FOR UPDATE")
        began = time.monotonic()
        answer = await shard.claim(command)
        took = time.monotonic() - began

    assert answer["status"] == 503
    assert 0.4 <= took < 30


# -- W8 --------------------------------------------------------------------------------------


async def test_w8_a_lost_commit_answer_leads_to_one_effect(shard: Shard) -> None:
    replica = await shard.open_replica()
    gate = Gate(replica)
    message = shard.start_message()
    execution_id = message["execution_id"]

    async def lose() -> None:
        gate.after = None
        raise DatabaseUnavailable(reason="the answer was lost")

    gate.after = lose
    start = await shard.send(execution_id, message)
    command = await shard.command(execution_id)
    gate.after = lose
    outcome = await shard.send(execution_id, shard.fast(command))
    gate.after = lose
    cancel = await shard.send(execution_id, {"type": "cancel", "execution_id": execution_id})

    assert start["body"]["status"] == "started"
    assert outcome == {"status": "ok"}
    assert (cancel["status"], cancel["body"]["status"]) == (200, "cancelled")
    types = await shard.types(execution_id)
    for once in ("playbook_started", "command.completed", "playbook_cancelled"):
        assert types.count(once) == 1


async def test_w8_a_failed_commit_leaves_no_ghost_in_memory(shard: Shard) -> None:
    """The decision went into memory, not into the database: it must be made again."""
    replica = await shard.open_replica()
    gate = Gate(replica)
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    async def fail() -> None:
        gate.before = None
        raise DatabaseUnavailable(reason="not committed")

    commits = gate.commits
    gate.before = fail
    answer = await shard.send(execution_id, shard.fast(command))

    assert answer == {"status": "ok"}
    # The one that failed, and the next: no third because the memory was ahead of the log.
    assert gate.commits == commits + 2
    await finish(shard, execution_id)
    types = await shard.types(execution_id)
    assert types.count("command.completed") == 2
    assert types[-1] == "playbook.completed"


# -- group commit ----------------------------------------------------------------------------


async def test_what_arrives_during_a_commit_shares_the_next_one(shard: Shard) -> None:
    replica = await shard.open_replica(turns_in_flight=1)
    executions = [await shard.start() for _ in range(20)]
    commands = [await shard.command(one) for one in executions]
    gate = Gate(replica)
    started = asyncio.Event()

    async def hold() -> None:
        gate.before = None
        started.set()
        await eventually(lambda: len(replica.parts.dispatcher) >= 19)

    gate.before = hold
    first = asyncio.create_task(shard.send(executions[0], shard.fast(commands[0])))
    await started.wait()
    await asyncio.gather(
        *(
            shard.send(execution_id, shard.fast(command))
            for execution_id, command in zip(executions[1:], commands[1:], strict=True)
        ),
        first,
    )

    assert gate.sizes == [1, 19]


# -- W10 -------------------------------------------------------------------------------------


async def test_w10_a_cascading_cancel_is_an_outbox_row_for_each_child(shard: Shard) -> None:
    await shard.open_replica()
    parent = await shard.start()
    child = await shard.start(parent_execution_id=parent)
    grandchild = await shard.start(parent_execution_id=child)
    stranger = await shard.start()

    answer = await shard.send(
        parent, {"type": "cancel", "execution_id": parent, "cascade": True, "reason": "enough"}
    )

    assert answer["body"]["cancelled_executions"] == [str(e) for e in (parent, child, grandchild)]
    (row,) = await shard.pool.fetch("SELECT * FROM noetl.outbox WHERE kind = 'message'")
    assert row["subject"] == f"noetl_ingress.0.{child}"
    await shard.publish(child, row["payload"])
    await eventually(shard.ingress_is_empty)
    rows = await shard.pool.fetch("SELECT * FROM noetl.outbox WHERE kind = 'message'")
    assert {row["execution_id"] for row in rows} == {child, grandchild}
    statuses = {e: (await shard.state(e))["status"] for e in (parent, child, stranger)}  # type: ignore[index]
    assert statuses == {parent: "CANCELLED", child: "CANCELLED", stranger: "RUNNING"}


async def test_w10_a_cancel_without_cascade_leaves_children_alone(shard: Shard) -> None:
    await shard.open_replica()
    parent = await shard.start()
    await shard.start(parent_execution_id=parent)

    await shard.send(parent, {"type": "cancel", "execution_id": parent})

    assert (
        await shard.pool.fetchval("SELECT count(*) FROM noetl.outbox WHERE kind = 'message'") == 0
    )


async def test_a_child_takes_over_its_parents_trace(shard: Shard) -> None:
    await shard.open_replica()
    parent = await shard.start(trace={"traceparent": "00-abc-def-01"})

    child = await shard.start(parent_execution_id=parent)

    assert (await shard.log(child))[0]["meta"]["trace"] == {"traceparent": "00-abc-def-01"}


# -- W11 -------------------------------------------------------------------------------------


async def test_w11_a_restart_reads_snapshot_and_tail_only(shard: Shard) -> None:
    first = await shard.open_replica(snapshot_min_events=8)
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    for _ in range(30):
        await shard.send(execution_id, shard.event(command, "command.heartbeat"))
    state = await shard.state(execution_id)
    assert state is not None
    assert state["snapshot_position"] >= 8
    first.parts.cache.forget(execution_id)
    read: list[tuple[int, int, int]] = []
    load_tails = first.parts.store.load_tails

    async def counting(spans: Any) -> Any:
        read.extend(spans)
        return await load_tails(spans)

    first.parts.store.load_tails = counting  # type: ignore[method-assign]
    await finish(shard, execution_id)

    assert (await shard.types(execution_id))[-1] == "playbook.completed"
    for _, known, wanted in read:
        assert known >= 8
        assert wanted - known < 20


async def test_w11_snapshots_cost_no_more_than_the_events_they_replace(shard: Shard) -> None:
    """The bytes of all snapshots stay in proportion to those of the events.

    The state is large, for it knows the open commands, and the events are small.
    """
    replica = await shard.open_replica(snapshot_min_events=4)
    sizes: list[int] = []
    commit = replica.parts.store.commit_turn

    async def measuring(parameters: CommitParameters) -> Committed:
        sizes.extend(len(state) for state in parameters.snapshots)
        return await commit(parameters)

    replica.parts.store.commit_turn = measuring  # type: ignore[method-assign]
    execution_id = await shard.start(LOOP, payload={"items": list(range(100))})
    command, *_ = await shard.open_commands(execution_id)
    before = len(await shard.log(execution_id))
    sizes.clear()
    for _ in range(60):
        await shard.send(execution_id, shard.event(command, "command.heartbeat"))

    event_bytes = await shard.pool.fetchval(
        "SELECT sum(200 + length(coalesce(meta::text, '')) + length(coalesce(result::text, ''))"
        " + length(coalesce(note::text, ''))) FROM noetl.event WHERE position > $1",
        before,
    )
    assert sizes
    assert sum(sizes) < 3 * event_bytes


async def test_w11_a_snapshot_of_another_release_is_not_needed(shard: Shard) -> None:
    replica = await shard.open_replica(snapshot_min_events=4)
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    for _ in range(8):
        await shard.send(execution_id, shard.event(command, "command.heartbeat"))
    await shard.pool.execute("UPDATE noetl.execution_snapshot SET state = $1", b'{"format": 999}')
    replica.parts.cache.forget(execution_id)

    await finish(shard, execution_id)

    assert (await shard.types(execution_id))[-1] == "playbook.completed"


async def test_w11_indexed_columns_of_the_state_row_change_at_start_and_end_only(
    shard: Shard,
) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await shard.pool.execute("SELECT pg_stat_reset()")

    async def all_hot() -> bool:
        # The server counts a second's work at the next commit, so there has to be one.
        await shard.send(execution_id, shard.event(command, "command.heartbeat"))
        row = await shard.pool.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
            " WHERE relname = 'execution_state'"
        )
        assert row is not None
        return bool(row["n_tup_upd"] >= 8 and row["n_tup_upd"] == row["n_tup_hot_upd"])

    await eventually(all_hot, what="all updates are heap only", every_seconds=0.1)


# -- W12 -------------------------------------------------------------------------------------


async def test_w12_whatever_appends_takes_the_next_position(shard: Shard) -> None:
    """Events, batches, claims, cancels, finalize, failures without fold: one gapless order."""
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await shard.claim(command)
    await shard.send(execution_id, shard.event(command, "command.started", attempts=0))
    batch = [{"event_type": "note.taken", "step": "start"} for _ in range(3)]
    await shard.send(
        execution_id,
        {"type": "events", "execution_id": execution_id, "batch": True, "events": batch},
    )
    await shard.send(
        execution_id, {"type": "finalize", "execution_id": execution_id, "status": "COMPLETED"}
    )
    await shard.send(execution_id, shard.event(command, "call.done", attempts=0))

    types = await shard.types(execution_id)  # checks that positions are gapless
    state = await shard.state(execution_id)
    assert state is not None
    assert state["position"] == len(types) == 9
    assert types[-2:] == ["playbook_completed", "call.done"]


# -- S4, S5 ----------------------------------------------------------------------------------


async def test_s4_a_message_of_another_shard_begins_no_second_log(shard: Shard) -> None:
    await shard.open_replica()
    message = shard.start_message()
    execution_id = message["execution_id"]
    other = shard.ids.next()

    answer = await shard.send(execution_id, message, subject=f"noetl_ingress.0.{other}")

    assert answer["status"] == 422
    assert await shard.state(execution_id) is None
    ((headers, _),) = await shard.dead_letters()
    assert any("is not that of execution" in value for value in headers.values())


async def test_s5_the_pinned_version_is_used_whatever_the_catalog_says_later(
    shard: Shard,
) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start()
    catalog_id = next(iter(shard.playbooks))
    shard.playbooks[catalog_id] = LINEAR.replace("second", "third")
    replica.parts.cache.forget(execution_id)

    await finish(shard, execution_id)

    names = {row["node_name"] for row in await shard.log(execution_id)}
    assert "second" in names
    assert "third" not in names


# -- playbooks -------------------------------------------------------------------------------


async def test_an_absent_catalog_holds_back_its_executions_only(shard: Shard) -> None:
    replica = await shard.open_replica()
    known = await shard.start()
    lost = shard.start_message(LINEAR + "# another version\n")
    fetch = replica.parts.playbooks._fetch
    is_up = asyncio.Event()

    async def wait(catalog_id: int) -> str:
        await is_up.wait()
        return await fetch(catalog_id)

    replica.parts.playbooks._fetch = wait
    waiting = asyncio.create_task(shard.send(lost["execution_id"], lost))
    await finish(shard, known)
    assert not waiting.done()
    is_up.set()

    assert (await waiting)["status"] == 200


async def test_each_message_is_acknowledged(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = Command(execution_id, 1, "x", "start")

    await shard.publish(execution_id, shard.fast(command), headers={REPLY_HEADER: ""})

    await eventually(shard.ingress_is_empty)
