"""Inputs in order, executions apart, turns within their bounds."""

import asyncio
from collections.abc import Callable
from typing import Self

import pytest
from noetl_contract.ingress import CancelMessage, PauseMessage, SignalMessage
from noetl_orchestrator.turn.dispatch import Dispatcher, Postponed
from noetl_orchestrator.turn.inputs import Caller, Group, TurnInput
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.gates import (
    Gate,
)
from services.orchestrator.tests.shard import Shard


def turn_input(execution_id: int, name: str = "x") -> TurnInput:
    message = SignalMessage(execution_id=execution_id, name=name, signal_id=name)
    return TurnInput(execution_id, message, Caller())


def cancel(execution_id: int) -> TurnInput:
    return TurnInput(execution_id, CancelMessage(execution_id=execution_id), Caller())


def pause(execution_id: int) -> TurnInput:
    return TurnInput(execution_id, PauseMessage(execution_id=execution_id), Caller())


def names(groups: list[Group]) -> list[tuple[int, list[str]]]:
    return [
        (
            group.execution_id,
            [
                one.message.name if isinstance(one.message, SignalMessage) else "urgent"
                for one in group.inputs
            ],
        )
        for group in groups
    ]


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher(turn_inputs=4, inputs_per_execution=2)


async def test_inputs_of_one_execution_stay_in_order_and_together(dispatcher: Dispatcher) -> None:
    for execution_id, reason in ((1, "a"), (2, "b"), (1, "c")):
        dispatcher.submit(turn_input(execution_id, reason))

    assert names(await dispatcher.take()) == [(1, ["a", "c"]), (2, ["b"])]


async def test_an_execution_is_in_one_turn_at_a_time(dispatcher: Dispatcher) -> None:
    dispatcher.submit(turn_input(1, "a"))
    await dispatcher.take()
    dispatcher.submit(turn_input(1, "b"))
    dispatcher.submit(turn_input(2, "c"))

    second = names(await dispatcher.take())
    dispatcher.release([1, 2])
    third = names(await dispatcher.take())

    assert (second, third) == ([(2, ["c"])], [(1, ["b"])])


async def test_a_hot_execution_gets_a_bounded_share(dispatcher: Dispatcher) -> None:
    for number in range(10):
        dispatcher.submit(turn_input(1, str(number)))
    dispatcher.submit(turn_input(2, "x"))

    first = await dispatcher.take()
    dispatcher.release([1, 2])
    second = await dispatcher.take()

    assert names(first) == [(1, ["0", "1"]), (2, ["x"])]
    assert names(second) == [(1, ["2", "3"])]


async def test_a_turn_takes_no_more_than_its_bound(dispatcher: Dispatcher) -> None:
    for execution_id in range(6):
        dispatcher.submit(turn_input(execution_id))

    assert [len(await dispatcher.take()), len(await dispatcher.take())] == [4, 2]


async def test_what_is_postponed_comes_first_and_blocks_its_execution(
    dispatcher: Dispatcher,
) -> None:
    dispatcher.submit(turn_input(1, "a"))
    (group,) = await dispatcher.take()
    dispatcher.submit(turn_input(1, "b"))

    dispatcher.postpone(group, 0.01)
    later = await dispatcher.take()

    assert names(later) == [(1, ["a", "b"])]


async def test_urgent_inputs_come_first_and_without_others(dispatcher: Dispatcher) -> None:
    for execution_id in (1, 2, 3):
        dispatcher.submit(turn_input(execution_id))
    dispatcher.submit(cancel(4))
    dispatcher.submit(cancel(3))

    first, second = names(await dispatcher.take()), names(await dispatcher.take())

    # The cancel of an execution overtakes what it has to say itself.
    assert first == [(4, ["urgent"]), (3, ["urgent", "x"])]
    assert second == [(1, ["x"]), (2, ["x"])]


async def test_urgent_inputs_keep_others_from_no_second_turn(dispatcher: Dispatcher) -> None:
    for execution_id in range(20, 40):
        dispatcher.submit(cancel(execution_id))
    dispatcher.submit(turn_input(1))

    sizes = [names(await dispatcher.take()) for _ in range(3)]

    assert [len(groups) for groups in sizes] == [4, 1, 4]
    assert sizes[1] == [(1, ["x"])]


async def test_urgent_inputs_keep_their_order(dispatcher: Dispatcher) -> None:
    dispatcher.submit(turn_input(1))
    (group,) = await dispatcher.take()
    first, second = pause(1), cancel(1)
    for one in (turn_input(1, "y"), first, second):
        dispatcher.submit(one)
    dispatcher.postpone(group, 0.0)

    (again,) = await dispatcher.take()
    dispatcher.release([1])
    (rest,) = await dispatcher.take()

    assert again.inputs == [first, second]
    assert names([rest]) == [(1, ["x", "y"])]


async def test_an_urgent_input_wakes_a_turn_beside_the_one_under_way() -> None:
    dispatcher = Dispatcher(turn_inputs=64, inputs_per_execution=2, gather_seconds=60)
    async with Turns(dispatcher) as turns:
        dispatcher.submit(turn_input(0))
        await eventually(lambda: turns.begun)

        dispatcher.submit(turn_input(1))
        dispatcher.submit(cancel(1))
        await eventually(lambda: len(turns.begun) == 2)

        assert turns.begun == [[0], [1]]


async def test_what_a_turn_had_no_time_for_keeps_its_place() -> None:
    dispatcher = Dispatcher(turn_inputs=64, inputs_per_execution=2)
    orders: list[list[int]] = []

    async def turn(groups: list[Group], _beat: Callable[[], None]) -> list[Postponed]:
        orders.append([group.execution_id for group in groups])
        if orders == [[1, 2, 3]]:
            dispatcher.submit(turn_input(4))
            dispatcher.submit(turn_input(1, "y"))
        return [(group, None) for group in groups[1:]]

    for execution_id in (1, 2, 3):
        dispatcher.submit(turn_input(execution_id))
    loop = asyncio.create_task(dispatcher.run_turns(turn))
    await eventually(lambda: len(dispatcher) == 0 and len(orders) >= 5)
    loop.cancel()

    # Each goes to the end of the line when it was decided, not before.
    assert [order[0] for order in orders] == [1, 2, 3, 4, 1]


async def test_slow_executions_have_turns_of_their_own_one_at_a_time() -> None:
    slow = {1, 2, 3}
    dispatcher = Dispatcher(
        turn_inputs=64,
        inputs_per_execution=2,
        gather_seconds=0.01,
        is_slow=lambda one: one.execution_id in slow,
    )
    async with Turns(dispatcher) as turns:
        for execution_id in (1, 2, 3):
            dispatcher.submit(turn_input(execution_id))
        await eventually(lambda: turns.begun)
        for execution_id in (4, 5):
            dispatcher.submit(turn_input(execution_id))
        await eventually(lambda: len(turns.begun) == 2)
        dispatcher.submit(turn_input(6))
        slow.add(7)
        dispatcher.submit(turn_input(7))
        turns.going.set()
        await eventually(lambda: len(turns.begun) == 4)

    assert turns.begun[:2] == [[1, 2, 3], [4, 5]]
    assert sorted(turns.begun[2:]) == [[6], [7]]


async def test_slow_executions_rest_while_others_are_at_work() -> None:
    """So that they hold the process for half of the time at most."""
    dispatcher = Dispatcher(
        turn_inputs=64, inputs_per_execution=2, is_slow=lambda one: one.execution_id < 10
    )
    orders: list[list[int]] = []

    async def turn(groups: list[Group], _beat: Callable[[], None]) -> list[Postponed]:
        orders.append([group.execution_id for group in groups])
        if groups[0].execution_id < 10:
            dispatcher.note_slow(3600.0)
        return []

    dispatcher.submit(turn_input(11))
    loop = asyncio.create_task(dispatcher.run_turns(turn))
    await eventually(lambda: orders == [[11]])
    dispatcher.submit(turn_input(1))
    await eventually(lambda: len(orders) == 2)
    dispatcher.submit(turn_input(2))
    dispatcher.submit(turn_input(12))
    dispatcher.submit(cancel(3))
    await eventually(lambda: len(orders) == 4)
    loop.cancel()

    # A cancel of a slow one is no slow input.
    assert orders == [[11], [1], [3], [12]]
    assert len(dispatcher) == 1


async def test_take_waits_for_inputs(dispatcher: Dispatcher) -> None:
    waiting = asyncio.create_task(dispatcher.take())
    await asyncio.sleep(0)
    assert not waiting.done()

    dispatcher.submit(turn_input(1, "a"))

    assert names(await waiting) == [(1, ["a"])]


class Turns:
    """Two loops of turns; each turn lasts until the test ends it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.begun: list[list[int]] = []
        self.going = asyncio.Event()
        self._loops = [asyncio.create_task(dispatcher.run_turns(self._turn)) for _ in range(2)]

    async def _turn(self, groups: list[Group], _beat: Callable[[], None]) -> list[Postponed]:
        self.begun.append([group.execution_id for group in groups])
        await self.going.wait()
        return []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.wait(self._loops)


async def test_a_few_executions_wait_for_the_turn_under_way() -> None:
    dispatcher = Dispatcher(turn_inputs=64, inputs_per_execution=2, gather_seconds=60)
    async with Turns(dispatcher) as turns:
        for execution_id in range(4):
            dispatcher.submit(turn_input(execution_id))
            await eventually(lambda: turns.begun)
        assert turns.begun == [[0]]

        turns.going.set()
        await eventually(lambda: len(turns.begun) == 2)

        assert turns.begun == [[0], [1, 2, 3]]


async def test_many_executions_get_a_turn_beside_the_one_under_way() -> None:
    dispatcher = Dispatcher(turn_inputs=64, inputs_per_execution=2, gather_seconds=60)
    async with Turns(dispatcher) as turns:
        dispatcher.submit(turn_input(0))
        await eventually(lambda: turns.begun)

        for execution_id in range(1, 9):
            dispatcher.submit(turn_input(execution_id))
        await eventually(lambda: len(turns.begun) == 2)

        assert turns.begun == [[0], list(range(1, 9))]


async def test_a_turn_that_lasts_keeps_nobody_waiting() -> None:
    dispatcher = Dispatcher(turn_inputs=64, inputs_per_execution=2, gather_seconds=0.01)
    async with Turns(dispatcher) as turns:
        dispatcher.submit(turn_input(0))
        await eventually(lambda: turns.begun)

        dispatcher.submit(turn_input(1))
        await eventually(lambda: len(turns.begun) == 2)

        assert turns.begun == [[0], [1]]


async def test_what_arrives_during_a_commit_shares_the_next_one(shard: Shard) -> None:
    replica = await shard.open_replica(turns_in_flight=1, turn_seconds=PATIENCE_SECONDS)
    executions = [await shard.start() for _ in range(20)]
    commands = [await shard.command(one) for one in executions]
    gate = Gate(replica)
    started = asyncio.Event()

    async def hold() -> None:
        gate.before = None
        started.set()
        await eventually(lambda: len(replica.rooms.dispatcher) >= 19)

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


@pytest.mark.parametrize("has_begun", [True, False])
async def test_w27_an_urgent_input_waits_for_no_results(
    dispatcher: Dispatcher, *, has_begun: bool
) -> None:
    async def silent_store() -> None:
        await asyncio.Event().wait()

    dispatcher.submit(turn_input(1, "a"))
    (group,) = await dispatcher.take()
    group.waits_for = silent_store
    dispatcher.postpone(group, 0.0)
    if has_begun:
        await asyncio.sleep(0)
    dispatcher.submit(cancel(1))

    assert names(await dispatcher.take()) == [(1, ["urgent", "a"])]
