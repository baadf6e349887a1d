"""Documents of kind Schedule: their content, and the errors of refused ones."""

from datetime import UTC, datetime

import pytest
from noetl_engine.documents import kind_of, lint_document
from noetl_engine.playbook.lint import Severity
from noetl_engine.schedule.durations import whole_seconds
from noetl_engine.schedule.model import Overlap
from noetl_engine.schedule.payload import PayloadError, render_payload
from noetl_engine.schedule.read import read_schedule
from noetl_engine.schedule.times import Times

HEAD = (
    "apiVersion: noetl.io/v2\nkind: Schedule\nmetadata: {name: nightly, path: a/nightly}\nspec:\n"
)


def document(*lines: str) -> str:
    return HEAD + "".join(f"  {line}\n" for line in lines)


def errors(*lines: str) -> list[str]:
    schedule, findings = read_schedule(document(*lines))
    found = [one for one in findings if one.severity is Severity.ERROR]
    assert (schedule is None) == bool(found)
    return [f"{one.line}: {one.message}" for one in found]


def test_a_whole_document():
    schedule, findings = read_schedule(
        document(
            "playbook: reports/daily",
            "version: 3",
            "cron: '30 2 * * 1-5'",
            "timezone: Europe/Berlin",
            "overlap: queue",
            "catch_up: 2h",
            "jitter: 90",
            "payload: {day: '{{ scheduled_at[:10] }}', n: 007}",
            "start: 2026-01-01",
            "end: 2026-12-31T12:00:00Z",
            "paused: true",
        )
    )

    assert findings == []
    assert schedule is not None
    assert (schedule.playbook, schedule.version, schedule.overlap) == (
        "reports/daily",
        3,
        Overlap.QUEUE,
    )
    assert (schedule.catch_up_seconds, schedule.jitter_seconds) == (7200, 90)
    assert schedule.start == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert schedule.end == datetime(2026, 12, 31, 12, tzinfo=UTC)
    assert schedule.is_paused is True
    made = render_payload(
        schedule, Times(schedule), path="a/nightly", moment=datetime(2026, 6, 15, 0, 30, tzinfo=UTC)
    )
    assert made == {"day": "2026-06-15", "n": "007"}


def test_the_least_document():
    schedule, findings = read_schedule(document("playbook: p", "interval: 15m"))

    assert findings == []
    assert schedule is not None
    assert (schedule.interval_seconds, schedule.timezone, schedule.overlap) == (900, "UTC", "skip")
    assert (schedule.catch_up_seconds, schedule.is_paused, schedule.version) == (3600, None, None)


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        (["cron: '* * * * *'"], ["5: 'spec.playbook' is missing"]),
        (
            ["playbook: p"],
            ["5: a schedule needs one of 'cron' and 'interval': neither is given"],
        ),
        (
            ["playbook: p", "cron: '@daily'", "interval: 5m"],
            ["5: a schedule needs one of 'cron' and 'interval': both 'cron' and"],
        ),
        (
            ["playbook: p", "cron: '* * * *'"],
            ["6: '* * * *' is no cron expression: 4 fields instead of minute, hour, day, month"],
        ),
        (["playbook: p", "interval: often"], ["6: 'interval' is no duration"]),
        (["playbook: p", "interval: 0"], ["6: 'interval' has to be a second at least"]),
        (
            ["playbook: p", "interval: 1m", "timezone: Mars/Base", "overlap: both"],
            [
                "7: no time zone is named 'Mars/Base'",
                "8: 'overlap' is 'both', not one of skip, queue, cancel, allow",
            ],
        ),
        (
            ["playbook: p", "interval: 1m", "jitter: 2m"],
            ["7: 'jitter' is longer than the interval"],
        ),
        (["playbook: p", "cron: '@daily'", "jitter: 2d"], ["7: 'jitter' is longer than a day"]),
        (
            ["playbook: p", "interval: 1m", "payload: {a: '{{ today }}', b: '{{ 1 + }}'}"],
            [
                "7: 'today' is none of scheduled_at, previous_at, next_at, schedule",
                "7: syntax error",
            ],
        ),
        (["playbook: p", "interval: 1m", "payload: 5"], ["7: 'payload' is no mapping"]),
        (["playbook: p", "interval: 1m", "start: soon"], ["7: 'start' is no moment"]),
        (
            ["playbook: p", "interval: 1m", "start: 2026-02-01", "end: 2026-01-01"],
            ["8: 'end' is not after 'start'"],
        ),
        (
            ["playbook: p", "cron: '0 0 29 2 *'", "start: 2026-01-01", "end: 2027-01-01"],
            ["5: the schedule has no time between its 'start' and 'end'"],
        ),
        (
            ["playbook: p", "interval: 1m", "version: 0"],
            ["7: 'version' is neither a version number nor 'latest'"],
        ),
        (
            ["playbook: p", "interval: 1m", "paused: maybe"],
            ["7: 'paused' is neither true nor false"],
        ),
    ],
)
def test_what_is_wrong_is_named(lines: list[str], problems: list[str]):
    found = errors(*lines)

    assert len(found) == len(problems)
    for one, expected in zip(found, problems, strict=True):
        assert one.startswith(expected) or (expected.endswith("syntax error") and one[:2] == "7:")


def test_unknown_keys_are_warned_of():
    _, findings = read_schedule(document("playbook: p", "interval: 1m", "catchup: 5m"))

    assert [one.message for one in findings] == [
        "unknown key 'catchup' has no effect, did you mean 'catch_up'?"
    ]


def test_a_document_without_a_spec():
    schedule, findings = read_schedule("kind: Schedule\nmetadata: {path: a}\n")

    assert schedule is None
    assert [one.message for one in findings] == ["'spec' is missing"]


def test_broken_yaml_is_a_finding():
    schedule, findings = read_schedule("kind: Schedule\nspec: [\n")

    assert schedule is None
    assert findings[0].rule == "yaml"


def test_documents_are_checked_by_their_kind():
    assert kind_of(document("playbook: p")) == "schedule"
    assert kind_of("kind: Playbook\nworkload:\n  kind: schedule\n") == "playbook"
    assert [one.rule for one in lint_document(document("playbook: p"))] == ["schedule"]
    assert any("Playbook" in one.message or one.rule for one in lint_document("kind: Playbook\n"))


def test_a_payload_that_grows_without_bound_is_refused():
    text = "payload: {a: '{% for i in range(100000) %}{{ schedule }}{% endfor %}'}"
    schedule, _ = read_schedule(document("playbook: p", "interval: 1m", text))

    assert schedule is not None
    with pytest.raises(PayloadError, match="can't be rendered"):
        render_payload(schedule, Times(schedule), path="a", moment=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90), ("90", 90), ("30s", 30), ("15m", 900), ("1h30m", 5400), ("2d", 172_800),
        ("1w", 604_800), (0, 0), (-1, None), (True, None), (1.5, None), ("", None), ("1x", None),
        ("m", None), ("53w", None), ("9" * 30, None), ("30m1h", None), (None, None),
    ],
)  # fmt: skip
def test_durations(value: object, seconds: int | None):
    assert whole_seconds(value) == seconds  # type: ignore[arg-type]
