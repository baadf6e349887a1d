"""One request for everybody who asks the same at the same time."""

import asyncio

import pytest
from noetl_bus.rpc.rounds import Rounds


class Asked:
    """Requests that are answered by their number, when they are let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.gates: list[asyncio.Event] = []

    async def __call__(self) -> int:
        self.begun += 1
        number, gate = self.begun, asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        return number


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_crowd_shares_the_request_that_begins_after_it_came() -> None:
    rounds, asked = Rounds[str, int](), Asked()
    first = asyncio.create_task(rounds.ask("a", asked))
    await settled()
    crowd = [asyncio.create_task(rounds.ask("a", asked)) for _ in range(50)]
    await settled()
    assert asked.begun == 1

    asked.gates[0].set()
    await settled()
    late = asyncio.create_task(rounds.ask("a", asked))
    await settled()
    assert asked.begun == 2
    asked.gates[1].set()
    await settled()
    asked.gates[2].set()

    assert await first == 1
    assert await asyncio.gather(*crowd) == [2] * 50
    assert await late == 3
    assert len(rounds) == 0


async def test_who_asks_for_something_else_waits_for_nobody() -> None:
    rounds, asked = Rounds[str, int](), Asked()
    tasks = [asyncio.create_task(rounds.ask(key, asked)) for key in ("a", "b")]
    await settled()
    assert asked.begun == 2
    asked.gates[1].set()
    assert await tasks[1] == 2
    asked.gates[0].set()
    assert await tasks[0] == 1


async def test_who_goes_away_takes_no_answer_along() -> None:
    rounds, asked = Rounds[str, int](), Asked()
    first, second = (asyncio.create_task(rounds.ask("a", asked)) for _ in range(2))
    await settled()
    first.cancel()
    await settled()
    asked.gates[0].set()

    assert await second == 1
    assert first.cancelled()
    assert len(rounds) == 0


async def test_an_error_is_that_of_all_who_shared_the_request_and_of_nobody_else() -> None:
    rounds = Rounds[str, int]()
    tries = iter([KeyError("down"), None])

    async def request() -> int:
        await asyncio.sleep(0)
        error = next(tries)
        if error is not None:
            raise error
        return 7

    both = [asyncio.create_task(rounds.ask("a", request)) for _ in range(2)]
    for task in both:
        with pytest.raises(KeyError):
            await task
    assert await rounds.ask("a", request) == 7
    assert len(rounds) == 0
