"""Times of schedules, above all at both changes of the clocks."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from noetl_engine.schedule.model import Schedule
from noetl_engine.schedule.times import Times, cron_problem, jitter_of, zone_of


def times(cron: str | None = None, *, zone: str = "UTC", **more: object) -> Times:
    return Times(Schedule(playbook="p", cron=cron, timezone=zone, **more))  # type: ignore[arg-type]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def walk(found: Times, begin: str, end: str) -> list[str]:
    span = found.between(utc(begin), utc(end), limit=1000)
    return [one.strftime("%m-%d %H:%M") for one in span.times]


def local(found: Times, begin: str, end: str) -> list[str]:
    span = found.between(utc(begin), utc(end), limit=1000)
    return [found.local(one).strftime("%m-%d %H:%M%z") for one in span.times]


# Berlin goes from 02:00 to 03:00 on 2026-03-29 and from 03:00 back to 02:00 on 2026-10-25.


def test_a_time_that_does_not_exist_becomes_the_first_moment_after_the_gap():
    nightly = times("30 2 * * *", zone="Europe/Berlin")

    assert local(nightly, "2026-03-28", "2026-03-31") == [
        "03-28 02:30+0100",
        "03-29 03:00+0200",
        "03-30 02:30+0200",
    ]


def test_of_a_time_that_exists_twice_the_first_one_counts():
    nightly = times("30 2 * * *", zone="Europe/Berlin")

    assert local(nightly, "2026-10-24", "2026-10-27") == [
        "10-24 02:30+0200",
        "10-25 02:30+0200",
        "10-26 02:30+0100",
    ]
    # Asked in the repeated hour, of which the walk knows the wall clock only.
    assert nightly.next_after(utc("2026-10-25T01:10")) == utc("2026-10-26T01:30")
    assert nightly.previous_before(utc("2026-10-25T01:10")) == utc("2026-10-25T00:30")


def test_an_hourly_schedule_follows_elapsed_hours_through_both_changes():
    hourly = times("0 * * * *", zone="Europe/Berlin")

    assert walk(hourly, "2026-03-29T00:00", "2026-03-29T04:00") == [
        f"03-29 {hour:02}:00" for hour in range(4)
    ]
    assert local(hourly, "2026-10-25T00:00", "2026-10-25T03:00") == [
        "10-25 02:00+0200",
        "10-25 02:00+0100",
        "10-25 03:00+0100",
    ]


def test_a_minute_with_a_star_fires_as_often_as_the_clock_shows_it():
    halves = times("*/30 2 * * *", zone="Europe/Berlin")

    assert local(halves, "2026-03-29T00:00", "2026-03-29T12:00") == []
    assert len(local(halves, "2026-10-25T00:00", "2026-10-25T12:00")) == 4


def test_an_interval_is_elapsed_time_whatever_the_clocks_do():
    every = times(interval_seconds=6 * 3600, zone="Europe/Berlin", start=utc("2026-03-28T01:00"))

    assert walk(every, "2026-03-28", "2026-03-30T00:00") == [
        *("03-28 01:00", "03-28 07:00", "03-28 13:00", "03-28 19:00"),
        *("03-29 01:00", "03-29 07:00", "03-29 13:00", "03-29 19:00"),
    ]


def test_a_zone_with_half_an_hour_of_change():
    # Lord Howe goes from 02:00 to 02:30 on 2026-10-04 and back on 2026-04-05.
    nightly = times("15 2 * * *", zone="Australia/Lord_Howe")

    assert local(nightly, "2026-10-02T12:00", "2026-10-05T12:00") == [
        "10-03 02:15+1030",
        "10-04 02:30+1100",
        "10-05 02:15+1100",
    ]


@pytest.mark.parametrize(
    "cron", ["30 2 * * *", "0 * * * *", "*/20 1-3 * * *", "@daily", "0 0 * * 0"]
)
@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]
)
def test_every_walk_finds_the_same_times_in_order(cron: str, zone: str):
    found = times(cron, zone=zone)
    whole = found.between(utc("2026-03-27"), utc("2026-04-07"), limit=5000).times

    assert list(whole) == sorted(set(whole))
    for before, after in pairwise(whole):
        assert found.next_after(before) == after
        assert found.next_after(after - timedelta(seconds=1)) == after
        assert found.previous_before(after) == before
        assert found.has(after)
        assert not found.has(after + timedelta(seconds=1))


def test_start_and_end_bound_the_times():
    few = times("0 0 * * *", start=utc("2026-01-02"), end=utc("2026-01-04"))

    assert walk(few, "2025-01-01", "2027-01-01") == ["01-02 00:00", "01-03 00:00"]
    assert few.next_after(utc("2026-01-03")) is None
    assert few.previous_before(utc("2026-01-02")) is None
    assert few.previous_before(utc("2026-06-01")) == utc("2026-01-03")


def test_a_range_that_has_more_times_says_how_far_it_went():
    span = times("* * * * *").between(utc("2026-01-01"), utc("2026-01-02"), limit=3)

    assert [one.minute for one in span.times] == [0, 1, 2]
    assert span.until == utc("2026-01-01T00:03")


def test_intervals_before_their_anchor():
    every = times(interval_seconds=60)

    assert every.previous_before(utc("2026-01-01T00:01")) == utc("2026-01-01")
    assert every.previous_before(utc("2026-01-01T00:01:30")) == utc("2026-01-01T00:01")
    assert every.next_after(utc("2026-01-01T00:01:30")) == utc("2026-01-01T00:02")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("* * * *", "4 fields instead of minute, hour, day, month and day of the week"),
        ("61 * * * *", "bad minute"),
        ("0 25 * * *", "bad hour"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("0 0 * * MOON", "bad day-of-week"),
        ("@often", "1 fields instead of minute, hour, day, month and day of the week"),
        ("0 0 * * MON#5", None),
        ("@Daily", None),
        ("5 4 L * *", None),
    ],
)
def test_cron_expressions_are_checked(text: str, problem: str | None):
    assert cron_problem(text) == problem


def test_zones_by_name():
    assert zone_of("Europe/Berlin") is not None
    assert zone_of("utc") is UTC
    assert [zone_of(one) for one in ("Mars/Base", "../etc/passwd", "", "x" * 100)] == [None] * 4


def test_jitter_is_the_same_for_one_firing_and_spreads_over_others():
    moments = [utc("2026-01-01") + timedelta(minutes=one) for one in range(500)]
    found = [jitter_of(7, one, seconds=30) for one in moments]

    assert found == [jitter_of(7, one, seconds=30) for one in moments]
    assert timedelta(0) <= min(found) < timedelta(seconds=1)
    assert timedelta(seconds=29) < max(found) <= timedelta(seconds=30)
    assert len(set(found)) > 400
    assert jitter_of(7, moments[0], seconds=0) == timedelta(0)
