"""W9 and W27 to W29: how much a turn decides, and that the rest comes with the next ones."""

from typing import ClassVar

import pytest
from msgspec import convert
from noetl_contract.ingress import (
    CommandOutcomeMessage,
    CommandStartMessage,
    EventsMessage,
    ExecuteMessage,
    PauseMessage,
)
from noetl_engine.execution import Execution
from noetl_engine.inputs import Facts, Input
from noetl_engine.outputs import Decision
from noetl_engine.playbook import Playbook
from noetl_orchestrator import cpu_limit
from noetl_orchestrator.turn.dispatch import Postponed
from noetl_orchestrator.turn.inputs import Group, TurnInput
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.gates import Gate, Noted, beat, finish
from services.orchestrator.tests.playbooks import LINEAR
from services.orchestrator.tests.shard import Replica, Shard

TURN_SECONDS = 1.0


class Busy(Execution):
    """Takes processor time for each decision, by the clock of these tests."""

    clock = 0.0
    seconds = 0.3
    decided: ClassVar[list[int]] = []

    def decide(self, playbook: Playbook, message: Input, facts: Facts) -> Decision:
        Busy.clock += Busy.seconds
        Busy.decided.append(self.state.execution_id)
        return super().decide(playbook, message, facts)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    Busy.clock, Busy.seconds, Busy.decided = 0.0, 0.3, []
    for name in ("thread_time", "perf_counter"):
        monkeypatch.setattr(cpu_limit, name, lambda: Busy.clock)


def begins(shard: Shard, count: int, playbook: str = LINEAR) -> list[Group]:
    found = []
    for _ in range(count):
        start = convert(shard.start_message(playbook), ExecuteMessage)
        found.append(Group(start.execution_id, [TurnInput(start.execution_id, start, Noted())]))
    return found


async def run(replica: Replica, groups: list[Group]) -> list[Postponed]:
    return await replica.rooms.turns.run(groups, lambda: None)


def answers(groups: list[Group]) -> list[int]:
    callers = [one.caller for group in groups for one in group.inputs]
    return [len(caller.answers) for caller in callers if isinstance(caller, Noted)]


async def test_w9_a_turn_commits_what_its_time_was_enough_for(shard: Shard) -> None:
    # Slow playbooks are for others; here each decision is quick, and there are many.
    replica = await shard.open_replica(loops=False, executions=Busy, turn_seconds=TURN_SECONDS)
    Busy.seconds = 0.19
    groups = begins(shard, 20)
    waiting, turns = groups, 0

    while waiting:
        postponed = await run(replica, waiting)
        assert [pause for _, pause in postponed] == [None] * len(postponed)
        decided = len(waiting) - len(postponed)
        assert 0 < decided <= 6
        # In the order in which they came.
        assert [group.execution_id for group, _ in postponed] == [
            group.execution_id for group in waiting[decided:]
        ]
        waiting, turns = [group for group, _ in postponed], turns + 1

    assert turns == 4
    assert answers(groups) == [1] * 20
    assert len(Busy.decided) == len(set(Busy.decided)) == 20
    await replica.rooms.store.close()


async def test_w9_inputs_of_one_execution_are_divided_too(shard: Shard) -> None:
    replica = await shard.open_replica(loops=False, executions=Busy, turn_seconds=TURN_SECONDS)
    (begin,) = begins(shard, 1)
    await run(replica, [begin])
    (command,) = await shard.open_commands(begin.execution_id)
    callers = [Noted() for _ in range(9)]
    inputs = [beat(shard, command, caller).inputs[0] for caller in callers]

    sizes = []
    group = Group(begin.execution_id, inputs)
    while group.inputs:
        before = len(Busy.decided)
        postponed = await run(replica, [group])
        sizes.append(len(Busy.decided) - before)
        group = postponed[0][0] if postponed else Group(begin.execution_id, [])

    assert sizes == [4, 4, 1]
    assert [len(caller.answers) for caller in callers] == [1] * 9
    await replica.rooms.store.close()


async def test_w9_inputs_that_write_nothing_are_not_lost_when_time_is_over(shard: Shard) -> None:
    """Answers that need no commit go another way than those of one."""
    replica = await shard.open_replica(loops=False, executions=Busy, turn_seconds=TURN_SECONDS)
    (begin,) = begins(shard, 1)
    await run(replica, [begin])
    (command,) = await shard.open_commands(begin.execution_id)
    outcome = convert(shard.fast(command), CommandOutcomeMessage)
    await run(replica, [Group(begin.execution_id, [_input(outcome)])])
    late = convert(shard.fast(command, "command.start", worker="w9"), CommandStartMessage)
    inputs = [_input(late) for _ in range(9)]

    left = [(Group(begin.execution_id, inputs), 0.0)]
    turns = 0
    while left:
        ((group, _),) = left
        left, turns = await run(replica, [group]), turns + 1

    assert turns == 3
    assert answers([Group(begin.execution_id, inputs)]) == [1] * 9
    await replica.rooms.store.close()


def _input(message: CommandOutcomeMessage | CommandStartMessage | EventsMessage) -> TurnInput:
    return TurnInput(message.execution_id, message, Noted())


async def test_w9_slow_executions_stay_out_of_the_turns_of_others(shard: Shard) -> None:
    replica = await shard.open_replica(loops=False, executions=Busy, turn_seconds=TURN_SECONDS)
    other = LINEAR.replace("name: linear", "name: other")
    slow, quick = begins(shard, 3), begins(shard, 3, other)
    Busy.seconds = 0.9
    await run(replica, [slow[0]])
    Busy.seconds = 0.001

    postponed = await run(replica, [slow[1], *quick, slow[2]])
    assert [(group.execution_id, pause) for group, pause in postponed] == [
        (slow[1].execution_id, None),
        (slow[2].execution_id, None),
    ]
    assert answers(quick) == [1] * 3

    # Without other executions they are decided like others.
    assert await run(replica, [group for group, _ in postponed]) == []
    assert answers(slow) == [1] * 3
    await replica.rooms.store.close()


async def test_w27_a_pause_is_committed_without_what_waits_behind_it(shard: Shard) -> None:
    replica = await shard.open_replica(loops=False, executions=Busy, turn_seconds=TURN_SECONDS)
    (begin,) = begins(shard, 1)
    await run(replica, [begin])
    execution_id = begin.execution_id
    (command,) = await shard.open_commands(execution_id)
    outcome = convert(shard.fast(command), CommandOutcomeMessage)
    pause = TurnInput(execution_id, PauseMessage(execution_id=execution_id), Noted())
    inputs = [pause, _input(outcome)]

    ((rest, _),) = await run(replica, [Group(execution_id, inputs)])

    assert answers([Group(execution_id, inputs)]) == [1, 0]
    assert rest.inputs == inputs[1:]
    assert await run(replica, [rest]) == []
    assert "step.enter" in await shard.types(execution_id)
    await replica.rooms.store.close()


async def _finish(shard: Shard, execution_id: int) -> None:
    """Play the worker of the last step, whose command comes with the next decision."""

    async def is_issued() -> bool:
        return bool(await shard.open_commands(execution_id))

    await eventually(is_issued)
    await finish(shard, execution_id)


HEAVY = "{% for i in range(1000) %}{% set x = i * 2 %}{% endfor %}"


def heavy(rules: int) -> str:
    lines = "".join(f"      ctx.v{number}: '{HEAVY}{number}'\n" for number in range(rules))
    return f"""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: heavy, path: tests/heavy}}
workflow:
  - step: start
    tool: {{kind: noop}}
    set:
{lines}    next: {{arcs: [{{step: last}}]}}
  - step: last
    tool: {{kind: noop}}
"""


async def test_w9_a_decision_with_more_work_than_a_turn_has_goes_on_in_the_next(
    shard: Shard,
) -> None:
    replica = await shard.open_replica(decision_template_work=5_000)
    gate = Gate(replica)
    execution_id = await shard.start(heavy(8))
    command = await shard.command(execution_id)
    before = gate.commits

    answer = await shard.send(execution_id, shard.fast(command), seconds=PATIENCE_SECONDS)
    await _finish(shard, execution_id)

    assert answer["status"] == "ok"
    state = await shard.state(execution_id)
    assert state is not None
    assert state["status"] == "COMPLETED"
    rows = [row for row in await shard.log(execution_id) if row["event_type"] == "ctx.updated"]
    assert rows[0]["result"]["context"]["values"] == {f"v{number}": number for number in range(8)}
    # Nothing is written before all of it is known.
    assert gate.commits - before <= 3


async def test_w9_it_goes_on_in_another_process_when_its_own_has_died(shard: Shard) -> None:
    """A variant: the rendered result dies with the process, and its message is sent again."""
    first = await shard.open_replica(decision_template_work=5_000, loops=False)
    (begin,) = begins(shard, 1, heavy(8))
    await run(first, [begin])
    execution_id = begin.execution_id
    command = await shard.command(execution_id)
    outcome = shard.fast(command)
    one = _input(convert(outcome, CommandOutcomeMessage))
    ((group, pause),) = await run(first, [Group(execution_id, [one])])
    assert (group.inputs, pause) == ([one], 0.0)
    assert one.renders is not None
    assert answers([group]) == [0]

    await shard.open_replica(decision_template_work=5_000)
    await shard.send(execution_id, outcome, seconds=PATIENCE_SECONDS)
    await _finish(shard, execution_id)

    state = await shard.state(execution_id)
    assert state is not None
    assert state["status"] == "COMPLETED"
    await first.rooms.store.close()
