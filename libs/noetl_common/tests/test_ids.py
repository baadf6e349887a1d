"""Snowflake ids and the lease of the machine id."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noetl_common.errors import NotMinting
from noetl_common.ids import EPOCH_MS, SnowflakeIds, time_of_id_ms


@dataclass
class SetClock:
    """A clock whose time the test sets."""

    ms: int = EPOCH_MS + 1_000

    def __call__(self) -> int:
        return self.ms


def test_the_layout_is_the_contracts() -> None:
    ids = SnowflakeIds(5, SetClock(EPOCH_MS + 77))

    assert ids.next() == (77 << 22) | (5 << 12) | 0
    assert ids.next() == (77 << 22) | (5 << 12) | 1


@given(st.lists(st.integers(min_value=-5_000, max_value=5_000), max_size=300))
def test_ids_only_grow_whatever_the_clock_does(steps: list[int]) -> None:
    clock = SetClock(EPOCH_MS + 10_000_000)
    ids = SnowflakeIds(1, clock)
    made = []
    for step in steps:
        clock.ms += step
        made.append(ids.next())

    assert made == sorted(set(made))


def test_when_the_sequence_is_used_up_the_next_millisecond_is_taken() -> None:
    """Waiting for the clock would block every caller, for an hour after a step back."""
    clock = SetClock(EPOCH_MS + 50)
    ids = SnowflakeIds(0, clock)
    made = [ids.next() for _ in range(4096 * 3 + 1)]

    assert made == sorted(set(made))
    assert time_of_id_ms(made[4095]) == EPOCH_MS + 50
    assert time_of_id_ms(made[4096]) == EPOCH_MS + 51
    assert ids.high_water_ms == EPOCH_MS + 53


def test_a_step_back_goes_on_from_the_last_millisecond() -> None:
    clock = SetClock(EPOCH_MS + 5_000)
    ids = SnowflakeIds(0, clock)
    before = ids.next()
    clock.ms -= 3_600

    assert ids.next() == before + 1


def test_ids_start_above_the_last_holders_high_water() -> None:
    clock = SetClock(EPOCH_MS + 1_000)
    ids = SnowflakeIds(3, clock, above_ms=EPOCH_MS + 9_000)

    assert time_of_id_ms(ids.next()) == EPOCH_MS + 9_001


@pytest.mark.parametrize("machine_id", [-1, 1024])
def test_a_machine_id_has_ten_bits(machine_id: int) -> None:
    with pytest.raises(ValueError, match="1023"):
        SnowflakeIds(machine_id)


def test_a_clock_before_the_epoch_makes_no_ids() -> None:
    with pytest.raises(NotMinting):
        SnowflakeIds(0, SetClock(EPOCH_MS - 10)).next()
