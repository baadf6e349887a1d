"""The estimate of a server's time, and its leaps."""

from datetime import UTC, datetime, timedelta

from noetl_common.clock import ServerClock

START = datetime(2026, 1, 2, tzinfo=UTC)


class Read:
    """A clock, read from a server whose own may leap."""

    def __init__(self) -> None:
        self.own = 1000.0
        self.leap = 0.0
        self.leaps = 0
        self.clock = ServerClock(lambda: self.own)
        self.clock.on_leap.append(self.count)
        self.read()

    def count(self) -> None:
        self.leaps += 1

    def read(self, *, there: float = 0.0, back: float = 0.0) -> None:
        """Read it; question and answer are on their way for so long."""
        asked_at = self.clock.reading()
        self.own += there
        now = START + timedelta(seconds=self.own + self.leap)
        self.own += back
        self.clock.set(now, asked_at=asked_at)


def test_a_leap_is_known_with_the_next_answer_and_its_end_too() -> None:
    read = Read()
    read.leap = 100.0
    read.read()
    assert read.leaps == 1
    read.own += 8.0
    read.read()
    assert read.leaps == 1
    read.leap = 0.0
    read.read()
    assert read.leaps == 2


def test_a_leap_back_is_one() -> None:
    read = Read()
    read.leap = -30.0
    read.read(there=0.1, back=0.1)
    assert read.leaps == 1


def test_answers_that_take_long_are_no_leaps() -> None:
    """However long question or answer are on their way, and in whatever order."""
    read = Read()
    for there, back in ((9.0, 0.0), (0.0, 9.0), (0.0, 0.0), (4.0, 30.0), (30.0, 4.0)):
        read.read(there=there, back=back)
    assert read.leaps == 0


def test_a_leap_within_a_slow_answer_is_found_by_what_is_above_its_time() -> None:
    read = Read()
    read.leap = 100.0
    read.read(there=20.0, back=20.0)
    assert read.leaps == 1
