"""L3: workers are judged only on heartbeats that could arrive."""

import time
from collections.abc import Callable

from noetl_contract.rpc.catalog import EdgeSeen, Liveness, WorkerSeen
from noetl_orchestrator.leases.worker_liveness import WorkerLiveness
from noetl_orchestrator.settings import Settings

from services.orchestrator.tests.leases.workers import LONG_AGO


def make_worker(*, over_edge: bool) -> WorkerSeen:
    return WorkerSeen(
        heartbeat_at=LONG_AGO,
        process_since=LONG_AGO,
        instance=None,
        deregistered_at=None,
        left_at=None,
        over_edge=over_edge,
    )


def make_liveness(monotonic: Callable[[], float] = time.monotonic) -> WorkerLiveness:
    return WorkerLiveness(Settings(liveness_seconds=10 / 3), monotonic)


def tell(liveness: WorkerLiveness, at: str, *, edge: tuple[str, str] | None = None) -> str:
    """Report a worker that beats through an edge; return the time since which it could be heard."""
    heartbeat, since = edge or (at, "00:00:00")
    liveness.heard(
        Liveness(
            now=_full(at),
            edges={"e": EdgeSeen(heartbeat_at=_full(heartbeat), process_since=_full(since))},
            workers={"w1": make_worker(over_edge=True)},
            pauses=[],
        )
    )
    assert liveness.workers is not None
    heard = liveness.workers["w1"].heard_since
    assert heard is not None
    return heard.strftime("%H:%M:%S")


def _full(text: str) -> str:
    return f"2026-01-01T{text}Z"


def test_l3_after_an_outage_all_workers_get_time_to_be_heard() -> None:
    liveness = make_liveness()

    assert tell(liveness, "01:00:00") == "01:00:00"
    assert tell(liveness, "01:00:02") == "01:00:00"
    liveness.not_heard()
    assert liveness.workers is None
    assert tell(liveness, "02:00:00") == "02:00:00"
    assert tell(liveness, "02:00:30") == "02:00:00"


def test_l3_a_silent_edge_keeps_its_workers_from_being_judged() -> None:
    liveness = make_liveness()
    assert tell(liveness, "01:00:00") == "01:00:00"
    assert tell(liveness, "01:00:10", edge=("01:00:00", "00:00:00")) == "01:00:00"

    down = tell(liveness, "01:00:20", edge=("01:00:00", "00:00:00"))
    still_down = tell(liveness, "01:09:00", edge=("01:00:00", "00:00:00"))
    back = tell(liveness, "01:10:05", edge=("01:10:05", "01:10:03"))
    later = tell(liveness, "01:11:00", edge=("01:11:00", "01:10:03"))

    assert (down, still_down) == ("01:00:20", "01:09:00")
    assert back == later == "01:10:03"


def test_l3_workers_that_use_no_edge_are_judged_without_one() -> None:
    liveness = make_liveness()
    for now in ("01:00:00", "01:05:00"):
        workers = {"w1": make_worker(over_edge=False)}
        liveness.heard(Liveness(now=_full(now), edges={}, workers=workers, pauses=[]))

    assert liveness.workers is not None
    since = liveness.workers["w1"].heard_since
    assert since is not None
    assert since.isoformat() == "2026-01-01T01:00:00+00:00"


def test_l3_an_old_answer_counts_as_none() -> None:
    now = 0.0
    liveness = make_liveness(monotonic=lambda: now)
    liveness.heard(Liveness(now=_full("01:00:00"), edges={}, workers={}, pauses=[]))
    assert liveness.workers == {}

    now = 11.0

    assert liveness.workers is None


def test_answers_count_for_longer_while_nothing_is_held() -> None:
    now = 0.0
    liveness = WorkerLiveness(Settings(liveness_seconds=2, liveness_idle_seconds=15), lambda: now)
    assert not liveness.rest(is_busy=False)  # no worker was ever heard
    assert tell(liveness, "01:00:00") == "01:00:00"

    now = 14.0
    assert liveness.rest(is_busy=False)
    assert liveness.workers is not None
    assert not liveness.rest(is_busy=True)
    # The rest was no outage: silence is counted from before.
    assert tell(liveness, "01:00:14") == "01:00:00"

    now = 21.0
    assert liveness.workers is None
    assert liveness.rest(is_busy=False)
    now = 29.0
    assert not liveness.rest(is_busy=False)
    liveness.not_heard()
    assert liveness.workers is None
