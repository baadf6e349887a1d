"""When a replica leaves its executions to siblings, and when it takes part again."""

from noetl_contract.hints import ReplicaMoves
from noetl_orchestrator.replicas.withdrawal import Withdrawal
from noetl_pg.watch import Reachability


class World:
    """A replica, its database, and a sibling."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.given_up = 0
        self.reach = Reachability(lambda: self.now)
        self.reach.give_up = self.give_up
        self.withdrawal = Withdrawal(self.reach, lambda: self.now)

    def give_up(self) -> None:
        self.given_up += 1

    def ask(self, *, is_answered: bool, seconds: float = 0.1) -> None:
        self.reach.begin_probe()
        self.now += seconds
        self.reach.record_probe(is_answered=is_answered)

    def hear(self, **said: bool) -> None:
        self.withdrawal.hear(ReplicaMoves(sender="other", moved=[], active=["x"], **said))

    def look(self, *, is_alone: bool = False) -> bool:
        self.withdrawal.look(is_alone=is_alone)
        return self.withdrawal.is_on

    def lose(self) -> None:
        """Lose the database for long enough."""
        self.ask(is_answered=False)
        self.now += 3.0

    def hear_and_fail(self, **said: bool) -> None:
        """Hear the sibling, and get no answer once more."""
        self.hear(**said)
        self.now += 0.1
        self.ask(is_answered=False)


def test_who_is_away_withdraws_for_one_that_has_just_reached_it() -> None:
    world = World()
    world.lose()
    world.hear_and_fail(reaches=True)

    assert world.look()
    assert world.given_up == 1


def test_a_word_from_before_is_none() -> None:
    world = World()
    world.hear(reaches=True)
    world.now += 0.1
    world.lose()

    assert not world.look()


def test_an_outage_of_both_within_seconds_of_a_recovery_is_none() -> None:
    """A sibling that was asked a moment ago says for a while that it reaches the database."""
    world = World()
    for _ in range(5):
        world.hear(reaches=True)
        world.now += 0.5
    for _ in range(4):
        world.ask(is_answered=False, seconds=0.0)
        world.hear(reaches=True)
        world.now += 0.5
        assert not world.look()
    world.hear()
    world.now += 2.0
    world.ask(is_answered=False)

    assert not world.look()


def test_one_that_is_away_alone_within_seconds_of_a_recovery_withdraws() -> None:
    """The sibling has said all the time that it reaches the database, and goes on."""
    world = World()
    for _ in range(5):
        world.hear(reaches=True)
        world.now += 0.5
    for _ in range(9):
        world.ask(is_answered=False, seconds=0.0)
        world.hear(reaches=True)
        world.now += 0.5

    assert world.look()


def test_who_has_not_asked_since_the_word_waits_for_that() -> None:
    """At the end of an outage of all one gets the first answer."""
    world = World()
    world.lose()
    world.hear(reaches=True)
    assert not world.look()

    world.ask(is_answered=True)
    assert not world.look()


def test_who_says_nothing_of_it_is_none_such() -> None:
    world = World()
    world.lose()
    world.hear_and_fail()

    assert not world.look()


def test_one_that_is_away_too_is_none() -> None:
    world = World()
    world.lose()
    world.hear(reaches=True)
    world.hear_and_fail(away=True)

    assert not world.look()


def test_one_that_has_gone_is_none() -> None:
    world = World()
    world.lose()
    world.hear_and_fail(reaches=True)
    world.withdrawal.lose("other")

    assert not world.look()


def test_an_outage_shorter_than_two_seconds_is_none() -> None:
    world = World()
    world.lose()
    world.ask(is_answered=True)
    world.hear_and_fail(reaches=True)

    assert not world.look()


def test_a_slow_answer_proves_nothing_to_others() -> None:
    """Both replicas of a slow database would take it from each other in turn."""
    world = World()
    world.ask(is_answered=True, seconds=1.5)
    assert not world.withdrawal.is_proven
    world.ask(is_answered=True)
    assert world.withdrawal.is_proven


def test_it_comes_back_once_the_database_has_answered_for_a_while() -> None:
    world = World()
    world.lose()
    world.hear_and_fail(reaches=True)
    world.look()

    world.ask(is_answered=True)
    world.now += 4.0
    assert world.look()
    world.ask(is_answered=False)
    world.ask(is_answered=True)
    world.now += 4.9
    assert world.look()
    world.now += 0.2
    assert not world.look()


def test_it_comes_back_at_once_when_it_is_alone() -> None:
    world = World()
    world.lose()
    world.hear_and_fail(reaches=True)
    world.look()

    assert not world.look(is_alone=True)
