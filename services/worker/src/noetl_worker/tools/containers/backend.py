"""Interface of a place where containers run, as the watcher needs it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from noetl_contract.http.system.internal import JobState

from noetl_worker.tools.containers.plan import Origin, Plan


class BackendError(Exception):
    """The place can't be reached, or refused; the text says which."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotStarted(Exception):
    """A container that can't run: no image, no such program."""

    def __init__(self, state: JobState, reason: str) -> None:
        super().__init__(reason)
        self.state: JobState = state


@dataclass(frozen=True, slots=True)
class Started:
    """A container that was started now or by an earlier run of the same command."""

    name: str
    uid: str
    namespace: str


class Condition(Enum):
    """Condition of a container, as it is seen."""

    RUNNING = auto()
    STUCK = auto()
    """Its image or a part of it doesn't come, or its node doesn't answer; it may yet."""
    ENDED = auto()
    REPORTED = auto()
    GONE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A container as it was seen.

    Attributes:
        at: when the condition began, Unix seconds; of one that runs, when it was started.
        deadline: when it is to be ended by us; None where the place does that.
        remove_at: when it is to be removed by us; None likewise.
        patience: seconds until one that is stuck counts as failed; None: as long as for an image.
        is_awaited: whether only the run that has started it waits for its end.
    """

    name: str
    condition: Condition
    event_id: int = 0
    worker: str = ""
    at: float = 0.0
    deadline: float | None = None
    remove_at: float | None = None
    patience: float | None = None
    is_awaited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """End of a container.

    Attributes:
        origin: for whom it ran.
        logs: the end of its output, without the values of hidden variables.
        pod: the newest of its pods, in a cluster; there also the namespace, and how many went
            well and badly.
        is_removed: whether it has to be removed at once, as it would go on trying.
    """

    name: str
    origin: Origin
    state: JobState
    uid: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    logs: str | None = None
    logs_truncated: bool = False
    is_removed: bool = False
    pod: str | None = None
    namespace: str | None = None
    succeeded: int = 0
    failed: int = 0
    ttl_seconds: float | None = None
    """Seconds for which it is kept after this; None where the place knows."""


type See = Callable[[Sighting], None]
type SeeAll = Callable[[Iterable[Sighting], float], None]
"""Takes a list of all, and when it was asked for in Unix seconds."""


class Backend(Protocol):
    """A place where containers run; all its methods may raise `BackendError`."""

    async def start(self, plan: Plan) -> Started:
        """Start a container, or find the one that an earlier run of its command has started.

        Raises:
            NotStarted: it can't run at all, and nothing of it is left.
        """

    async def follow(self, see: See, see_all: SeeAll) -> None:
        """Report all containers of the pool, and then every change, until the watch breaks."""

    async def found(self) -> list[Sighting]:
        """Return all containers of the pool."""

    async def ending(self, sighting: Sighting) -> Ending | None:
        """Return how a container has ended; None when it runs, or is gone."""

    async def settle(self, ending: Ending) -> Sighting | None:
        """Mark a container as reported, and return when it is to be removed if that is our task."""

    async def expire(self, name: str) -> None:
        """End a container whose time is over."""

    async def remove(self, sighting: Sighting) -> None:
        """Remove a container, also one that runs; nothing happens if it is gone."""

    async def discard(self, plan: Plan) -> None:
        """Remove the objects that an interrupted start may have left."""

    async def close(self) -> None:
        """Close connections."""
