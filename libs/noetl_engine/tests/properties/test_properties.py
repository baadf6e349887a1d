"""Promises for any playbook and any order, repetition and loss of messages."""

import random
from typing import Any

from engine_driver import (
    EXECUTION_ID,
    NOW,
    Run,
    cancel,
    command_outcome,
    command_start,
    finalize,
    posted,
)
from engine_graphs import RandomGraph
from hypothesis import given, settings
from hypothesis import strategies as st
from noetl_contract.ingress import WireEvent
from noetl_engine.execution import Execution
from noetl_engine.inputs import Claimed, Continued, Input, Limits
from noetl_engine.state.fold import fold
from noetl_engine.state.model import State
from noetl_engine.state.snapshot import dump_state

LIMITS = Limits(rounds_per_decision=50)
MAX_COMMANDS = 40

seeds = st.integers(min_value=0, max_value=2**32)
examples = settings(max_examples=150)


def make_run(rng: random.Random) -> tuple[Run, RandomGraph]:
    graph = RandomGraph(rng, cyclic=rng.random() < 0.5, fails=rng.random() < 0.4)
    return Run(graph.playbook(), limits=LIMITS).start(), graph


class Player:
    """Works on a run in an order of its own, with or without disturbances."""

    def __init__(self, seed: int, *, noise: bool = False) -> None:
        rng = random.Random(seed)  # noqa: S311 - reproducible
        self.run, self.graph = make_run(rng)
        self.rng = rng
        self.noise = random.Random(seed + 1) if noise else None  # noqa: S311 - reproducible
        self.visits: dict[str, int] = {}
        self.sent: list[tuple[Input, Any]] = []

    def play(self) -> Run:
        run = self.run
        for _ in range(MAX_COMMANDS):
            if not run.open:
                break
            self.work(run.open[self.rng.randrange(len(run.open))])
        return run

    def work(self, command: Any) -> None:
        run, rng = self.run, self.rng
        run.open.remove(command)
        name, index = command.step, command.iteration_index
        self.visits[name] = self.visits.get(name, 0) + 1
        fails = bool(self.graph.fail.get(name if index is None else (name, index)))
        data = {"n": self.visits[name]}
        events = run.outcome_events(command, fails=fails, data=data)
        hold = run.hold(command)
        start, outcome = (
            command_start(hold, tuple(events[:1])),
            command_outcome(hold, tuple(events)),
        )
        if rng.random() < 0.5:
            order: list[Input] = [start, outcome]
        else:
            claim = Claimed(command.event_id, "w1", None)
            order = [claim, *(posted((event,)) for event in events)]
        if self.noise is not None and order[0] is start and self.noise.random() < 0.3:
            order.reverse()
        for message in order:
            self.send(message)

    def send(self, message: Input) -> None:
        decision = self.run.decide(message)
        self.sent.append((message, decision.answer))
        if self.noise is None:
            return
        if self.noise.random() < 0.4:
            self.repeat(*self.noise.choice(self.sent))
        if self.noise.random() < 0.1:
            assert not self.run.decide(Continued()).events
        if self.noise.random() < 0.1:
            note = WireEvent(event_type="note", step="x", event_id=self.run.new_id())
            assert len(self.run.decide(posted((note,))).events) == 1

    def repeat(self, message: Input, answer: Any) -> None:
        decision = self.run.decide(message)
        assert not decision.events
        assert not decision.commands
        if not isinstance(message, Claimed):
            assert answer == decision.answer


def story(run: Run) -> list[str]:
    """The log without the effects of noise: ids, times and notes differ, the words must not."""
    return run.log


@examples
@given(seeds)
def test_repetitions_and_shuffles_change_nothing(seed: int) -> None:
    calm, noisy = Player(seed).play(), Player(seed, noise=True).play()

    assert story(calm) == [word for word in story(noisy) if word != "note"]


@examples
@given(seeds)
def test_the_same_inputs_give_the_same_rows(seed: int) -> None:
    assert Player(seed).play().rows == Player(seed).play().rows


@examples
@given(seeds)
def test_there_is_one_end_and_nothing_after_it(seed: int) -> None:
    player = Player(seed, noise=True)
    run = player.play()
    if run.ended:
        for word in (cancel(), finalize("FAILED")):
            assert not run.decide(word).events, "it has ended for good"
    ends = [index for index, row in enumerate(run.rows) if row.event_type.startswith("playbook.")]

    assert len(ends) <= 1
    assert len(run.ended) == len(ends)
    if not run.open:
        assert ends, "an execution with nothing open has come to its end"
    if ends:
        after = {row.event_type for row in run.rows[ends[0] + 1 :]}
        assert after <= {"call.done", "call.error", "command.completed", "command.failed",
                         "command.claimed", "command.started", "note"}  # fmt: skip


@examples
@given(seeds, st.floats(0, 1))
def test_snapshot_and_tail_equal_the_whole_log(seed: int, share: float) -> None:
    run = Player(seed, noise=True).play()
    cut = int(share * len(run.rows))
    head = Execution.restore(EXECUTION_ID, None, run.rows[:cut])
    both = Execution.restore(EXECUTION_ID, head.snapshot(), run.rows[cut:])
    whole = Execution.restore(EXECUTION_ID, None, run.rows)

    assert whole.snapshot() == both.snapshot() == run.execution.snapshot()


@examples
@given(seeds)
def test_reloads_change_nothing(seed: int) -> None:
    calm = Player(seed).play()
    player = Player(seed)
    dice = random.Random(seed)  # noqa: S311 - reproducible

    def reload(_turn: int) -> bool:
        if dice.random() < 0.5:
            player.run.take_snapshot()
        return dice.random() < 0.7

    player.run.reload = reload
    rows = player.play().rows

    assert calm.rows == rows


@examples
@given(seeds)
def test_rows_folded_twice_change_nothing(seed: int) -> None:
    rows = Player(seed).play().rows
    state = State(EXECUTION_ID)
    for index, row in enumerate(rows):
        fold(state, row)
        for earlier in rows[max(0, index - 3) : index + 1]:
            fold(state, earlier)
    once = Execution.restore(EXECUTION_ID, None, rows)

    assert dump_state(state) == once.snapshot()


@examples
@given(seeds)
def test_positions_have_no_gaps_and_ids_are_unique(seed: int) -> None:
    run = Player(seed, noise=True).play()

    assert [row.position for row in run.rows] == list(range(1, len(run.rows) + 1))
    ids = [row.event_id for row in run.rows]
    assert len(set(ids)) == len(ids)
    commands = [command for decision in run.decisions for command in decision.commands]
    assert len({command.event_id for command in commands}) == len(commands)
    assert all(row.created_at == NOW for row in run.rows)
