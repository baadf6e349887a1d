"""Any playbook, any order, with repetitions, losses and crashes: it ends once, and right."""

import random

import pytest
from engine_driver import cancel, finalize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from noetl_engine.errors import StartRefused
from noetl_engine.inputs import Continued
from noetl_engine.playbook import parse_playbook
from random_playbooks import playbooks
from world import OUTCOMES, World, check, replayed

numbers = st.integers(0, 50)


class Execution(RuleBasedStateMachine):
    """One execution among everything that can happen to it."""

    world: World | None = None

    @initialize(text=playbooks())
    def start(self, text: str) -> None:
        try:
            self.world = World(parse_playbook(text))
        except StartRefused:
            self.world = None  # nothing was begun, so nothing can go wrong

    def there(self) -> World:
        assert self.world is not None
        return self.world

    def is_there(self) -> bool:
        return self.world is not None

    def has_notices(self) -> bool:
        return self.is_there() and bool(self.there().notices)

    def has_jobs(self) -> bool:
        return self.is_there() and bool(self.there().jobs)

    @precondition(has_notices)
    @rule(index=numbers, over_http=st.booleans(), outcome=st.sampled_from(OUTCOMES))
    def a_worker_takes_a_command(self, *, index: int, over_http: bool, outcome: str) -> None:
        self.there().take_notice(index, over_http=over_http, outcome=outcome)

    @precondition(has_notices)
    @rule(count=st.integers(1, 6), index=numbers, outcome=st.sampled_from(OUTCOMES))
    def some_work_is_done(self, *, count: int, index: int, outcome: str) -> None:
        world = self.there()
        for turn in range(count):
            if world.notices:
                world.take_notice(index + turn, over_http=bool(turn % 2), outcome=outcome)
            if world.jobs:
                world.deliver(index)
        while world.jobs:
            world.deliver(index)

    @precondition(has_jobs)
    @rule(index=numbers, second=numbers)
    def a_message_arrives(self, index: int, second: int) -> None:
        self.there().deliver(index, second)

    @precondition(has_jobs)
    @rule(index=numbers)
    def a_message_arrives_but_its_commit_fails(self, index: int) -> None:
        world = self.there()
        job = world.jobs[index % len(world.jobs)]
        world.run.decide_in_vain(job.messages[0])

    @precondition(is_there)
    @rule(index=numbers)
    def a_message_arrives_again(self, index: int) -> None:
        decision = self.there().repeat(index)
        assert decision is None or not (decision.events or decision.commands)

    @precondition(has_notices)
    @rule(index=numbers)
    def a_command_is_announced_twice(self, index: int) -> None:
        notices = self.there().notices
        notices.append(notices[index % len(notices)])

    @precondition(has_notices)
    @rule(index=numbers)
    def a_notice_is_lost(self, index: int) -> None:
        notices = self.there().notices
        notices.pop(index % len(notices))

    @precondition(has_jobs)
    @rule(index=numbers)
    def a_worker_dies(self, index: int) -> None:
        self.there().lose_job(index)

    @precondition(is_there)
    @rule()
    def a_snapshot_is_taken(self) -> None:
        self.there().run.take_snapshot()

    @precondition(is_there)
    @rule()
    def the_process_dies(self) -> None:
        run = self.there().run
        run.execution = run.restore()

    @precondition(is_there)
    @rule(seconds=st.sampled_from([1, 15, 40, 100]))
    def time_goes_by(self, seconds: float) -> None:
        self.there().wait(seconds)
        self.there().sweep()

    @precondition(is_there)
    @rule(index=numbers)
    def a_timer_rings(self, index: int) -> None:
        world = self.there()
        if world.timers:
            world.fire(world.timers[index % len(world.timers)])

    @precondition(is_there)
    @rule(index=numbers)
    def a_callback_comes(self, index: int) -> None:
        self.there().call_back(index)

    @precondition(is_there)
    @rule()
    def it_is_told_to_go_on(self) -> None:
        assert not self.there().decide(Continued()).events

    @precondition(is_there)
    @rule(word=st.sampled_from(["cancel", "COMPLETED", "FAILED"]), luck=st.integers(0, 29))
    def somebody_ends_it(self, word: str, luck: int) -> None:
        if luck == 29:
            self.there().decide(cancel() if word == "cancel" else finalize(status=word))

    @invariant()
    def it_is_sound(self) -> None:
        if self.world is not None:
            check(self.world)

    def teardown(self) -> None:
        world = self.world
        if world is None:
            return
        assert_end(world)


def walk(world: World, dice: random.Random, *, length: int) -> None:  # noqa: C901 - a table
    """Mostly work, and now and then a fault."""
    for turn in range(length):
        number = dice.randrange(50)
        match dice.choices(range(9), [35, 25, 4, 4, 3, 3, 10, 2, 3])[0]:
            case 0 if world.notices:
                outcome = dice.choice(OUTCOMES)
                world.take_notice(number, over_http=dice.random() < 0.4, outcome=outcome)
            case 1 if world.jobs:
                world.deliver(number, dice.randrange(2))
            case 2:
                world.repeat(number)
            case 3 if world.notices:
                world.notices.append(world.notices[number % len(world.notices)])
            case 4 if world.jobs:
                world.lose_job(number)
            case 5:
                if dice.random() < 0.5:
                    world.run.take_snapshot()
                world.run.execution = world.run.restore()
            case 6:
                world.wait(dice.choice([1, 40, 100]))
                world.sweep()
            case 7 if world.timers:
                world.fire(dice.choice(world.timers))
            case 8:
                world.call_back(number)
        if turn % 20 == 0:
            check(world)


def assert_end(world: World) -> None:
    """Without further faults it ends, and the same inputs give the same log again."""
    world.drain()
    check(world)
    assert len(world.run.ended) == 1
    again = replayed(world.run)
    assert repr(world.run.rows) == repr(again.rows)
    assert world.run.execution.snapshot() == again.execution.snapshot()


def test_long_walks_end_once_and_are_the_same_again(world_count: int) -> None:
    @settings(max_examples=2 * world_count, suppress_health_check=list(HealthCheck))
    @given(playbooks(), st.integers(0, 2**32))
    def one(text: str, seed: int) -> None:
        try:
            world = World(parse_playbook(text))
        except StartRefused:
            return
        walk(world, random.Random(seed), length=120)  # noqa: S311 - reproducible
        assert_end(world)

    one()


def test_every_execution_ends_once_and_is_the_same_again(world_count: int) -> None:
    run_state_machine_as_test(
        Execution,
        settings=settings(
            max_examples=world_count,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_the_world_reports_is_understood(outcome: str) -> None:
    """The proof above means nothing if the engine dropped the workers' reports."""
    text = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: t, path: p}
workflow: [{step: start, tool: {kind: noop}, next: end}, {step: end, tool: {kind: noop}}]
"""
    for over_http in (False, True):
        world = World(parse_playbook(text))
        world.take_notice(0, over_http=over_http, outcome=outcome)
        while world.jobs:
            world.deliver(0)
        check(world)

        expected = ["FAILED"] if outcome == "fails" else []
        assert world.run.ended == expected
        assert len(world.notices) == (outcome != "fails")
