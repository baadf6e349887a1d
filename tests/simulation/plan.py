"""Plans of seeds: how many processes, which executions, which troubles and when."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from tests.simulation import playbooks
from tests.simulation.profiles import PROFILES

type Ingress = Literal["direct", "stream"]
NEAR = (0.5, 0.5, 1.0, 1.5, 2.0, 5.0)
"""Times that the system itself waits for, near which troubles end more often than by chance."""


@dataclass(frozen=True)
class Start:
    """An execution that is started."""

    at: float
    playbook: str
    key: str | None
    cancelled_after: float | None
    """Seconds after the answer; None if it runs to its end."""

    def __str__(self) -> str:
        words = [f"{self.at:6.3f} s  start {self.playbook}"]
        if self.key:
            words.append(f"under the key {self.key}")
        if self.cancelled_after is not None:
            words.append(f"cancelled {self.cancelled_after:.3f} s later")
        return " ".join(words)


@dataclass(frozen=True)
class Trouble:
    """A fault: of a kind, at a part, for a while."""

    at: float
    kind: str
    where: str
    seconds: float
    amount: float = 0.0

    @property
    def until(self) -> float:
        """When it is over."""
        operator = 16.0 if (self.kind, self.where) == ("full", "broker") else 0.0
        return self.at + self.seconds + operator

    def __str__(self) -> str:
        more = f" {self.amount:g}" if self.amount else ""
        return f"{self.at:6.3f} s  {self.kind} {self.where}{more} for {self.seconds:.3f} s"


@dataclass(frozen=True)
class Plan:
    """A seed's world before it runs."""

    seed: int
    profile: str
    orchestrators: int
    workers: int
    slots: int
    starts: tuple[Start, ...]
    troubles: tuple[Trouble, ...] = ()
    tool_seconds: tuple[float, float] = (0.0, 0.0)
    slowness: float = 0.002
    projector: bool = True
    ingress: Ingress = "direct"
    left_out: frozenset[int] = field(default_factory=frozenset)

    @property
    def acting(self) -> list[Trouble]:
        """Return the troubles that are not left out."""
        return [one for number, one in enumerate(self.troubles) if number not in self.left_out]

    def __str__(self) -> str:
        head = (
            f"seed {self.seed}, {self.profile}: {self.orchestrators} orchestrators, "
            f"{'' if self.projector else 'no projector, '}ingress {self.ingress}, "
            f"{self.workers} workers of {self.slots} slots, tools of "
            f"{self.tool_seconds[0]:g} to {self.tool_seconds[1]:g} s, "
            f"iterations of up to {self.slowness:g} s"
        )
        lines = [head]
        lines += [f"  {start}" for start in self.starts]
        lines += [
            f"  {number}: {trouble}"
            for number, trouble in enumerate(self.troubles)
            if number not in self.left_out
        ]
        return "\n".join(lines)


def plan_of(seed: int, *, profile: str | None = None, ingress: Ingress | None = None) -> Plan:
    """Make the plan of a seed."""
    chance = Random(f"plan of {seed}")
    names = list(PROFILES)
    profile = profile or names[seed % len(names)]
    orchestrators = 2 if profile in {"owners", "owners and more"} else chance.choice((1, 1, 2))
    workers = chance.choice((1, 2, 2, 3))
    slots = chance.choice((1, 2, 4, 16))
    low, high = chance.choice(((0.001, 0.008), (0.001, 0.3), (0.05, 2.0), (0.0, 0.0)))
    slowness = chance.choice((0.0005, 0.002, 0.02))
    if profile == "owners":
        workers, slots, low, high = chance.choice((2, 3)), chance.choice((2, 4, 16)), 0.02, 0.6
        slowness = chance.choice((0.002, 0.02, 0.05))
    if profile == "queue":
        workers, slots, low, high = 1, chance.choice((1, 2)), 0.2, 1.5
    # A world costs as much as its start: where it takes chance, much happens in each.
    is_dense = profile in {"owners", "broker"}
    many = chance.randint(6, 10) if is_dense else chance.randint(2, 7)
    starts = tuple(_start(chance, profile, number, is_dense=is_dense) for number in range(many))
    kinds = PROFILES[profile]
    count = chance.randint(1, 5) if kinds else 0
    if is_dense:
        count = chance.randint(5, 10)
    workers_names = [f"worker-{number}" for number in range(workers)]
    owners = [f"orchestrator-{number}" for number in range(orchestrators)]
    troubles = sorted(
        (
            _trouble(chance, chance.choice(kinds), owners, workers_names, is_dense=is_dense)
            for _ in range(count)
        ),
        key=lambda one: one.at,
    )
    return Plan(
        seed,
        profile,
        orchestrators,
        workers,
        slots,
        starts,
        tuple(troubles),
        (low, high),
        slowness,
        projector=profile in {"calm", "mixed", "database"} or seed % 5 == 0,
        ingress=ingress or Random(f"ingress of {seed}").choice(("direct", "stream")),
    )


def _start(chance: Random, profile: str, number: int, *, is_dense: bool) -> Start:
    cancels = 0.6 if profile == "queue" else 0.15
    return Start(
        at=chance.random() * (8.0 if is_dense else chance.choice((0.05, 1.0, 4.0))),
        playbook=chance.choice(
            ["wide", "wide", "loop", "join", "rounds"]
            if profile == "owners"
            else list(playbooks.ALL)
        ),
        key=f"key-{number}" if chance.random() < 0.4 else None,
        cancelled_after=(
            chance.random() * chance.choice((0.05, 1.0, 4.0)) if chance.random() < cancels else None
        ),
    )


def _seconds(chance: Random, longest: float) -> float:
    if chance.random() < 0.4:
        return max(0.01, chance.choice(NEAR) + chance.uniform(-0.02, 0.02))
    return 0.05 + (longest - 0.05) * chance.random() ** 2


def _trouble(
    chance: Random, kind: str, owners: list[str], workers: list[str], *, is_dense: bool
) -> Trouble:
    at = chance.random() * (10.0 if is_dense else chance.choice((0.3, 1.5, 6.0)))
    word, part = kind.partition(" ")[::2]
    where = {
        "owner": lambda: chance.choice(owners),
        "worker": lambda: chance.choice(workers),
        "database": lambda: chance.choice(owners) if word == "hole" else "database",
        "": lambda: "broker",
    }.get(part, lambda: part)()
    seconds, amount = _LENGTHS.get(kind, _LENGTHS[word])(chance)
    return Trouble(at, _NAMES.get(kind, word), where, seconds, amount)


type _Length = tuple[float, float]


def _worker_away(chance: Random) -> _Length:
    away = 0.2 + 2.0 * chance.random()
    return (60.0 + 80.0 * chance.random() if chance.random() < 0.2 else away), 0.0


def _owner_frozen(chance: Random) -> _Length:
    # Two waits of half a second: of a sender, and of who asks the owner on its behalf.
    both = 1.0 + chance.random() ** 2 if chance.random() < 0.5 else 0.0
    return both or _seconds(chance, 2.5), 0.0


def _worker_frozen(chance: Random) -> _Length:
    if chance.random() < 0.2:
        return 31.0 + 60.0 * chance.random(), 0.0
    return _seconds(chance, 4.0), 0.0


_NAMES = {"hole database": "cut off from the database"}
_LENGTHS: dict[str, Callable[[Random], _Length]] = {
    "kill": lambda chance: (0.2 + 2.0 * chance.random(), 0.0),
    "kill worker": _worker_away,
    "freeze": lambda chance: (_seconds(chance, 4.0), 0.0),
    "freeze owner": _owner_frozen,
    "freeze worker": _worker_frozen,
    "hole": lambda chance: (_seconds(chance, 12.0), 0.0),
    "hole database": lambda chance: (_seconds(chance, 8.0), 0.0),
    "cut": lambda _chance: (0.0, 0.0),
    "restart": lambda chance: (0.1 + 3.0 * chance.random() ** 2, chance.random() * 2.0),
    "wipe": lambda chance: (0.1 + 2.0 * chance.random(), 0.0),
    "slow": lambda chance: (_seconds(chance, 5.0), 0.01 + chance.random() ** 2),
    "full": lambda chance: (_seconds(chance, 5.0), 0.0),
    "lose": lambda chance: (_seconds(chance, 5.0), 0.05 + 0.4 * chance.random()),
    "double": lambda chance: (_seconds(chance, 5.0), 0.05 + 0.4 * chance.random()),
    "clock": lambda chance: (600.0, chance.choice((-40.0, -20.0, 4.0, 20.0, 40.0))),
}
"""By kind, or by its first word: the seconds of a trouble, and its amount."""
