"""A case of the benchmark, and the settings that it gets."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.report.results import Found


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Choices of the caller of a run.

    Attributes:
        scale: the part of the full size that is run; 1 for figures to publish.
        transports: how workers speak: ``nats``, ``http``.
        kinds: tools of the steps.
        at_once: numbers of executions at once.
        folder: where results are kept, and whatever has to be fetched.
        environment: of the services, of cases that may leave out a fast path.
    """

    scale: float = 1.0
    transports: tuple[str, ...] = ("nats", "http")
    kinds: tuple[str, ...] = ("noop", "python", "http")
    at_once: tuple[int, ...] = (1, 16, 64, 256)
    folder: Path = Path(".noetl/bench")
    environment: Mapping[str, str] = field(default_factory=dict)

    def scaled(self, count: int, least: int = 10) -> int:
        """Return a count at the scale of this run, or ``least`` if that is more."""
        return max(min(count, least), round(count * self.scale))


@dataclass(frozen=True)
class Case:
    """Something that is measured.

    Attributes:
        name: what the caller says.
        about: a sentence for the list of cases.
        run: measures, and yields each table and plot as soon as it is there.
        is_asked_for: runs only when it is named.
    """

    name: str
    about: str
    run: Callable[[Settings], Iterator[Found]]
    is_asked_for: bool = False
