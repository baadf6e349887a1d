"""Interfaces of spans and of their recorder."""

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

from noetl_common.telemetry.carrier import Context

type Kind = Literal["internal", "server", "client", "producer", "consumer"]
type Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """A span that is open."""

    @property
    def context(self) -> Context:
        """Its context, for its children."""

    def rename(self, name: str) -> None:
        """Give it a name that is known only now."""

    def note(self, attributes: Attributes) -> None:
        """Add attributes."""

    def fail(self, error: str) -> None:
        """Mark it as failed."""

    def end(self, *, at_ns: int | None = None, error: str | None = None) -> None:
        """End it, now or at a time; a span that is never ended is never sent."""


class Tracing(Protocol):
    """Records spans."""

    def begin(
        self,
        name: str,
        parent: Context | None,
        *,
        kind: Kind = "internal",
        at_ns: int | None = None,
        links: Iterable[Context] = (),
        attributes: Attributes | None = None,
    ) -> Span:
        """Begin a span; without a parent it is the first of a trace."""

    def ignores(self, parent: Context) -> bool:
        """Return whether no span below a context is recorded, so that callers can skip it."""

    def close(self) -> None:
        """Send the remaining spans."""
