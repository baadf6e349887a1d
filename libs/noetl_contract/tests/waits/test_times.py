"""Durations and moments."""

import pytest
from noetl_contract.waits.times import moment_of, seconds_of, told_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90), (1.5, 1.5), ("90", 90), ("90s", 90), ("15m", 900), ("4h", 14_400),
        ("3d", 259_200), ("2w", 1_209_600), ("1d 12h", 129_600), (" 1h30m ", 5400), (0, 0),
    ],
)  # fmt: skip
def test_durations(written: object, seconds: float) -> None:
    assert seconds_of(written) == seconds


@pytest.mark.parametrize(
    "wrong",
    ["", "soon", "-5", -5, "5 parsecs", "1d 5", "1 2", None, True, [], float("nan"), 10**400,
     "400d", "9" * 200, "1e5"],
)  # fmt: skip
def test_no_durations(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"is not a duration like|longer than 366 days"):
        seconds_of(wrong)


def test_moments() -> None:
    assert moment_of("2030-01-31T09:00:00Z").isoformat() == "2030-01-31T09:00:00+00:00"
    assert moment_of("2030-01-31T09:00:00+02:00").isoformat() == "2030-01-31T07:00:00+00:00"
    assert moment_of("2030-01-31").isoformat() == "2030-01-31T00:00:00+00:00"


@pytest.mark.parametrize("wrong", ["", "tomorrow", "2030-01-31T09:00:00", 5, None, "2030-13-01",
                                   "0001-01-01T00:00:00+14:00"])  # fmt: skip
def test_no_moments(wrong: object) -> None:
    with pytest.raises(ValueError, match="is not a moment like"):
        moment_of(wrong)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(1, "1 second"), (90, "90 seconds"), (0.5, "0.5 seconds"), (5400, "1 hour 30 minutes"),
     (259_200, "3 days")],
)  # fmt: skip
def test_told(seconds: float, told: str) -> None:
    assert told_duration(seconds) == told
