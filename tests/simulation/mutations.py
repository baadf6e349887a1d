"""Defects that once were, or could be: the shipped code changed as it runs, to see them found.

A mutation names the profile of troubles in which it shows. `test_found.py` and `make simulate`
run seeds with each until it is found; what no seed finds makes the simulation worthless.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from noetl_bus.writes.write import Write
from noetl_engine.inputs import Facts
from noetl_orchestrator.turn.inputs import TurnInput
from noetl_orchestrator.turn.unit_of_work import UnitOfWork
from noetl_outbox.relay import Relay
from noetl_worker.transports import runs
from noetl_worker.transports.fast.run import Run, RunState, is_timely
from noetl_worker.transports.fast.transport import FastTransport
from noetl_worker.transports.hearing import Hearing


@dataclass(frozen=True)
class Mutation:
    """A change of the shipped code.

    Attributes:
        what: is wrong with it.
        profile: of the seeds that find it.
        kinds: of the findings that it leads to.
        change: makes it.
    """

    what: str
    profile: str
    kinds: frozenset[str]
    change: Callable[[], None]


def _forgets_ends() -> None:
    runs.EndedExecutions.__contains__ = lambda _self, _one: False  # type: ignore[method-assign]


def _wishes_without_effect() -> None:
    original = UnitOfWork._decide

    def decide(self: UnitOfWork, turn_input: TurnInput, facts: Facts) -> None:
        original(self, turn_input, facts)
        for decided, answer in self.answers[-1:]:
            if decided is turn_input:
                self._note_wish(turn_input, turn_input.message, answer)  # type: ignore[arg-type]

    UnitOfWork._decide = decide  # type: ignore[method-assign]


def _takes_next_after_the_limit() -> None:
    late: set[int] = set()
    give_up, close = Write._give_up, Write.close

    def given_up(self: Write) -> None:
        self.on_late = None
        late.add(id(self))
        give_up(self)

    def closed(self: Write) -> None:
        late.discard(id(self))
        close(self)

    Write._give_up = given_up  # type: ignore[method-assign]
    Write.close = closed  # type: ignore[method-assign]
    Write.is_settled = property(  # type: ignore[assignment]
        lambda self: self._is_settled and id(self) not in late
    )


def _never_in_doubt() -> None:
    Hearing.covers = lambda _self, _sequence: True  # type: ignore[method-assign]


def _drops_what_is_overdue() -> None:
    original = FastTransport._still_ours

    async def still_ours(self: FastTransport, run: Run) -> Run | None:
        now = datetime.fromtimestamp(time.time(), UTC)  # its own clock
        if run.state is RunState.FRESH and not is_timely(run.note, now):
            return None
        return await original(self, run)

    FastTransport._still_ours = still_ours  # type: ignore[method-assign]


async def _for_ever(*_: object, **__: object) -> None:
    await asyncio.Event().wait()


def _sweeps_no_rows() -> None:
    Relay.run_sweep = _for_ever  # type: ignore[method-assign]


def _looks_for_ever() -> None:
    wait, on_ack = Relay._wait_for_more, Relay.on_ack

    async def waiting(self: Relay, seconds: float) -> None:
        if self._bus.is_connected:
            self.brought_forward = float("inf")
        else:
            self._sweep_by = self.brought_forward
        await wait(self, seconds)

    def taking(self: Relay, incoming: Any) -> None:
        on_ack(self, incoming)
        self.brought_forward = self._sweep_by

    Relay.brought_forward = float("inf")
    Relay._wait_for_more = waiting  # type: ignore[method-assign]
    Relay.on_ack = taking  # type: ignore[method-assign]


MUTATIONS: dict[str, Mutation] = {
    "begun after the end": Mutation(
        "workers forget which executions have ended, so what is queued begins",
        "queue", frozenset({"after the end"}), _forgets_ends,
    ),
    "stale copy": Mutation(
        "a copy of an outcome without effect gets the next command",
        "owners", frozenset({"stall"}), _wishes_without_effect,
    ),
    "answer at the limit": Mutation(
        "an answer in the moment of the timeout is taken, and the outcome sent again",
        "owners", frozenset({"twice"}), _takes_next_after_the_limit,
    ),
    "first delivery twice": Mutation(
        "what a broker delivers again as if for the first time is not doubted",
        "broker", frozenset({"twice", "after the end"}), _never_in_doubt,
    ),
    "wrong clock": Mutation(
        "a command that is too old by the worker's clock is dropped without a word",
        "clock", frozenset({"stall"}), _drops_what_is_overdue,
    ),
    "no sweep": Mutation(
        "the relay publishes nothing that its orchestrator did not",
        "relay", frozenset({"stuck", "left"}), _sweeps_no_rows,
    ),
    "outbox goes round": Mutation(
        "a look that is due is tried again and again while the broker is away",
        "broker", frozenset({"ended by itself"}), _looks_for_ever,
    ),
}  # fmt: skip
