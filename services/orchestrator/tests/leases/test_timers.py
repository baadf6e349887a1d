"""Timers and continuations: waiting is a row (W9, W10)."""

from msgspec import convert
from noetl_contract.ingress import CommandOutcomeMessage, ExecuteMessage
from noetl_engine.inputs import Continued
from noetl_orchestrator.leases.timers import take_due_timers
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.inputs import Caller, Group, TurnInput
from noetl_pg.database import Row
from noetl_testkit.waiting import eventually, unless_it_hangs

from services.orchestrator.tests.shard import Replica, Shard

TIMED = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: timed, path: tests/timed}
workflow:
  - step: start
    spec: {timeout: 30}
    tool: {kind: noop}
"""

WIDE = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: wide, path: tests/wide}
workload: {count: 25}
workflow:
  - step: start
    loop: {in: "{{ range(25) }}", iterator: item, spec: {mode: parallel}}
    tool: {kind: noop}
"""


class Deaf(Dispatcher):
    """Takes inputs and never decides them, as when every turn is held."""

    def __init__(self) -> None:
        self.submitted: list[TurnInput] = []

    def __len__(self) -> int:
        return len(self.submitted)

    def submit(self, turn_input: TurnInput) -> None:
        self.submitted.append(turn_input)


async def take(replica: Replica) -> int:
    rooms = replica.rooms
    return await take_due_timers(rooms.store, rooms.dispatcher, replica.settings)


async def timers(shard: Shard) -> list[Row]:
    return list(await shard.pool.fetch("SELECT * FROM noetl.timer"))


async def test_w10_a_step_timeout_is_a_row_and_ends_the_command(shard: Shard) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start(TIMED)
    command = await shard.command(execution_id)
    assert await timers(shard) == []

    await shard.send(execution_id, shard.fast(command, "command.start"))
    (timer,) = await timers(shard)
    assert await take(replica) == 0
    replica.rooms.cache.forget(execution_id)
    # Its time has come by the database's clock, not yet by the process's estimate of it.
    await shard.pool.execute("UPDATE noetl.timer SET due_at = now()")
    assert await take(replica) == 1

    async def has_failed() -> bool:
        return "playbook.failed" in await shard.types(execution_id)

    await eventually(has_failed)
    assert timer["kind"] == "step_timeout"
    assert timer["payload"] == {"event_id": command.event_id, "holds": 1}
    assert await timers(shard) == []


async def test_w10_a_timer_of_a_finished_command_goes_without_effect(shard: Shard) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start(TIMED)
    command = await shard.command(execution_id)
    await shard.send(execution_id, shard.fast(command, "command.start"))
    await shard.send(execution_id, shard.fast(command))
    types = await shard.types(execution_id)
    await shard.pool.execute("UPDATE noetl.timer SET due_at = now()")

    assert await take(replica) == 1

    async def is_gone() -> bool:
        return not await timers(shard)

    await eventually(is_gone)
    assert await shard.types(execution_id) == types


async def test_w10_a_timer_of_an_unknown_execution_goes(shard: Shard) -> None:
    replica = await shard.open_replica()
    await shard.pool.execute(
        "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind)"
        " VALUES (1, 2, now(), 'continue')"
    )

    assert await take(replica) == 1

    async def is_gone() -> bool:
        return not await timers(shard)

    await eventually(is_gone)


async def test_w10_a_timer_that_was_taken_in_vain_is_due_again(shard: Shard) -> None:
    replica = await shard.open_replica(loops=False)
    await shard.pool.execute(
        "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind)"
        " VALUES (1, 2, now(), 'continue')"
    )

    assert [await take(replica), await take(replica)] == [1, 0]
    await shard.pool.execute("UPDATE noetl.timer SET due_at = due_at - interval '31 s'")
    assert await take(replica) == 1


async def test_w9_a_fan_out_larger_than_a_decision_goes_on_by_itself(shard: Shard) -> None:
    await shard.open_replica(decision_commands=10)

    execution_id = await shard.start(WIDE)

    async def all_issued() -> bool:
        return len(await shard.open_commands(execution_id)) == 25

    await eventually(all_issued)
    await eventually(lambda: _none(shard))


async def _none(shard: Shard) -> bool:
    return not await timers(shard)


async def test_w9_a_continuation_outlives_the_process(shard: Shard) -> None:
    """The process that issued the first part dies before it goes on."""
    first = await shard.open_replica(decision_commands=10)
    dispatcher = first.rooms.dispatcher
    submit_all, submitted = dispatcher.submit, []

    def submit(turn_input: TurnInput) -> None:
        if isinstance(turn_input.message, Continued):
            submitted.append(turn_input)
        else:
            submit_all(turn_input)

    dispatcher.submit = submit
    execution_id = await shard.start(WIDE)
    assert len(submitted) == 1
    (timer,) = await timers(shard)
    assert timer["kind"] == "continue"

    second = await shard.open_replica(decision_commands=10)
    await shard.pool.execute("UPDATE noetl.timer SET due_at = now()")
    await take(second)

    async def all_issued() -> bool:
        return len(await shard.open_commands(execution_id)) == 25

    await eventually(all_issued)


async def test_w9_one_execution_does_not_fill_the_commit(shard: Shard) -> None:
    replica = await shard.open_replica(loops=False, turn_events_per_execution=8)
    rooms = replica.rooms
    message = shard.start_message(WIDE)
    execution_id = message["execution_id"]
    start = convert(message, ExecuteMessage)
    begin = Group(execution_id, [TurnInput(execution_id, start, Caller())])
    assert await rooms.turns.run([begin], lambda: None) == []

    commands = (await shard.open_commands(execution_id))[:5]
    outcomes = [convert(shard.fast(command), CommandOutcomeMessage) for command in commands]
    inputs = [TurnInput(execution_id, one, Caller()) for one in outcomes]
    sizes = []
    postponed = [(Group(execution_id, inputs), 0.0)]
    while postponed:
        before = len(await shard.log(execution_id))
        ((group, _pause),) = postponed
        postponed = await rooms.turns.run([group], lambda: None)
        sizes.append(len(await shard.log(execution_id)) - before)

    assert sizes == [8, 8, 4]
    assert len(await shard.open_commands(execution_id)) == 20
    await rooms.store.close()


async def test_timers_that_no_turn_deletes_are_submitted_for_half_their_lease_at_most(
    shard: Shard,
) -> None:
    replica = await shard.open_replica()
    commands = {}
    for _ in range(3):
        execution_id = await shard.start(TIMED)
        commands[execution_id] = await shard.command(execution_id)
    for execution_id, command in commands.items():
        await shard.send(execution_id, shard.fast(command, "command.start"))
    await shard.pool.execute("UPDATE noetl.timer SET due_at = now()")
    settings = replica.settings.model_copy(update={"timer_batch": 1, "timer_lease_seconds": 1e-4})
    dispatcher, beats = Deaf(), 0

    def beat() -> None:
        nonlocal beats
        beats += 1

    async with unless_it_hangs():  # they are due again at once, so there is always a full batch
        found = await take_due_timers(replica.rooms.store, dispatcher, settings, beat)

    assert found == len(dispatcher.submitted) == beats >= 1
    assert {row["execution_id"] for row in await timers(shard)} == set(commands)


async def test_w10_a_deadline_is_a_row_of_the_start_and_goes_with_the_end(shard: Shard) -> None:
    replica = await shard.open_replica()
    text = TIMED.replace("workflow:", "spec: {timeout: 30}\nworkflow:")
    execution_id = await shard.start(text)
    (timer,) = await timers(shard)
    assert timer["kind"] == "deadline"
    await shard.pool.execute("UPDATE noetl.timer SET due_at = now()")
    assert await take(replica) == 1

    async def has_failed() -> bool:
        return "playbook.failed" in await shard.types(execution_id)

    await eventually(has_failed)
    state = await shard.state(execution_id)
    assert state is not None
    assert state["error"] == "deadline of 30 s exceeded while running: start"
    assert await timers(shard) == []

    other = await shard.start(text)
    await shard.send(other, {"type": "cancel", "execution_id": other})
    assert await timers(shard) == []
