"""The worlds that are explored, small ones and large ones, and what each rule is good for."""

from dataclasses import dataclass

from worlds import Bounds, Faults, Rules, chain

FORK = ((), (0,), (0,))


@dataclass(frozen=True, slots=True)
class Case:
    """A world that is explored whole with the rules that ship; nothing is wrong with it."""

    name: str
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Missing:
    """A world without a rule, and what is wrong then; a large one is left to the proof."""

    name: str
    rules: Rules
    bounds: Bounds
    broken: str
    is_large: bool = False


def _one(length: int, **more: object) -> Bounds:
    return Bounds(chain(length), **{"workers": 1, "owners": 1, **more})  # type: ignore[arg-type]


def _two(length: int, **more: object) -> Bounds:
    return Bounds(chain(length), **{"workers": 2, "owners": 1, **more})  # type: ignore[arg-type]


SMALL = (
    Case("no fault", _one(2)),
    Case("given back, spilled at once", _one(2, spills_at_once=True, gives_back=True)),
    Case("commits between", Bounds(chain(1), workers=1, owners=2, is_split=True)),
    Case("a commit without its answer", _one(2, faults=Faults(unknown_commit=1))),
    Case("a cancel, a broken connection", _one(1, cancels=True, faults=Faults(cut=1))),
    Case("a silent worker", _two(1, faults=Faults(silence=1))),
    Case("a killed broker", _two(1, faults=Faults(broker_crash=1))),
    Case("a killed worker", _two(1, faults=Faults(worker_crash=1))),
)
"""Explored with every run of the tests."""

LARGE = (
    Case("three steps", _one(3)),
    Case("two workers, two owners", Bounds(chain(2))),
    Case("a fork", Bounds(FORK, workers=1, owners=1)),
    Case("a cancel, a killed worker", _two(1, cancels=True, faults=Faults(worker_crash=1))),
    Case("a cancel, two steps", _one(2, cancels=True, faults=Faults(cut=1))),
    Case("a killed owner, a lost message", _one(2, faults=Faults(owner_crash=1, drop=1))),
    Case("a silent worker, two owners", Bounds(chain(1), faults=Faults(silence=1))),
    Case("a killed worker, two steps", _two(2, faults=Faults(worker_crash=1))),
    Case("a worker killed for good, two steps", _two(2, faults=Faults(worker_loss=1))),
)
"""Explored by the proof."""

_TWICE = "runs twice, its worker not lost"
_BEHIND_CANCEL = "begins after the cancel was answered"
_BEHIND_END = "begins after its outcome counted"
_NO_END = "the execution has not come to its end"

MISSING = (
    Missing(
        "a worker forgets what has ended",
        Rules(ends_are_kept=False),
        _one(1, cancels=True),
        _BEHIND_CANCEL,
    ),
    Missing(
        "a copy without effect counts as a wish",
        Rules(wish_needs_effect=False),
        _one(3),
        "stands still for 30 s",
    ),
    Missing(
        "an answer at the limit is taken, and the outcome sent again",
        Rules(limit_ends_wish=False),
        _two(2),
        _TWICE,
    ),
    Missing(
        "what was stored before the connection is begun",
        Rules(old_is_claimed=False),
        _one(1, cancels=True, faults=Faults(cut=1)),
        _BEHIND_CANCEL,
    ),
    Missing(
        "what a killed broker gives out again is begun",
        Rules(old_is_claimed=False),
        _two(1, faults=Faults(broker_crash=1)),
        _TWICE,
    ),
    Missing(
        "what is delivered again is begun",
        Rules(redelivered_is_claimed=False),
        _two(1, faults=Faults(cut=1, worker_crash=1)),
        _BEHIND_END,
    ),
    Missing(
        "what came with an answer before the connection is begun",
        Rules(break_is_claimed=False),
        _one(2, cancels=True, faults=Faults(cut=1)),
        _BEHIND_CANCEL,
    ),
    Missing(
        "what came with the answer to an outcome from before it is begun",
        Rules(break_counts_from_request=False),
        Bounds(chain(2), workers=1, owners=2, cancels=True, faults=Faults(cut=1)),
        _BEHIND_CANCEL,
        is_large=True,
    ),
    Missing(
        "an owner stands still between commit and publication",
        Rules(publishes_at_once=False),
        Bounds(chain(2), workers=1, owners=2, cancels=True, faults=Faults(cut=1)),
        _BEHIND_CANCEL,
        is_large=True,
    ),
    Missing(
        "answers before hints", Rules(hints_first=False), _one(1, cancels=True), _BEHIND_CANCEL
    ),
    Missing(
        "commits at any position",
        Rules(checks_position=False),
        Bounds(chain(1), workers=1, owners=2, is_split=True),
        "rows have positions up to",
    ),
    Missing(
        "reports without a fence",
        Rules(has_fence=False),
        _two(1, faults=Faults(silence=1)),
        _BEHIND_END,
    ),
    Missing("repetitions count", Rules(knows_repetitions=False), _one(2), "2 outcomes of c0"),
    Missing(
        "what went with a lost answer is not released",
        Rules(releases=False),
        _one(2),
        "stands still for 30 s",
    ),
    Missing(
        "a late outcome releases what went to another run",
        Rules(late_releases_nothing=False),
        _two(2, faults=Faults(worker_crash=1)),
        _TWICE,
        is_large=True,
    ),
    Missing(
        "no sweep over what went with answers",
        Rules(sweeps_handed=False),
        _two(2, faults=Faults(worker_loss=1)),
        _NO_END,
    ),
    Missing("no relay", Rules(relays=False), _one(2, faults=Faults(owner_crash=1)), _NO_END),
    Missing(
        "no sweep over leases",
        Rules(sweeps_leases=False),
        _one(1, faults=Faults(worker_crash=1)),
        _NO_END,
    ),
)
"""Each rule of the model, and what happens without it."""
