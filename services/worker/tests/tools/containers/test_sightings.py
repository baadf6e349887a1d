"""Sightings of containers of an engine: their deadlines, and whether these ended them."""

from typing import Any

import pytest
from noetl_worker.tools.containers.engine.labels import DEADLINE_LABEL
from noetl_worker.tools.containers.engine.sightings import ended, listed, sighting_in
from noetl_worker.tools.containers.plan import Origin

LABELS = {DEADLINE_LABEL: "3"}
CREATED = 1_764_577_151
"""2025-12-01T08:19:11Z, in whole seconds as lists and events have it; it was at 11.952."""


def origin() -> Origin:
    return Origin(
        execution_id=7,
        event_id=1,
        step="start",
        command_id="7:start:1",
        callback="http://127.0.0.1:9",
        pool="shared",
        worker="w-1",
    )


def test_the_deadline_of_an_event_counts_from_its_very_moment() -> None:
    attributes = {"name": "c", **LABELS}
    event = {"Action": "start", "Actor": {"Attributes": attributes}, "time": CREATED}
    sighting = sighting_in({**event, "timeNano": CREATED * 10**9 + 952_000_000})

    assert sighting is not None
    assert sighting.deadline == pytest.approx(CREATED + 3.952)


def test_the_deadline_in_a_list_is_rather_late_than_early() -> None:
    sighting = listed({"Names": ["/c"], "Created": CREATED, "State": "running", "Labels": LABELS})

    assert sighting.deadline is not None
    assert sighting.deadline >= CREATED + 3.952


@pytest.mark.parametrize(
    ("began", "over", "expected"),
    [
        ("2025-12-01T08:19:11.952Z", "2025-12-01T08:19:14.960Z", "failed_timeout"),
        # It began long after its creation, from which the deadline counts that a list shows.
        ("2025-12-01T08:19:13.900Z", "2025-12-01T08:19:15.200Z", "failed_timeout"),
        ("2025-12-01T08:19:12.000Z", "2025-12-01T08:19:13.000Z", "failed"),
    ],
)
def test_a_killed_container_whose_time_was_over_has_timed_out(
    began: str, over: str, expected: str
) -> None:
    state: dict[str, Any] = {"ExitCode": 137, "StartedAt": began, "FinishedAt": over}
    ending = ended("c", state, LABELS, origin(), created="2025-12-01T08:19:11.940Z")

    assert ending.state == expected
