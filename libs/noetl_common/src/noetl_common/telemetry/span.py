"""Interfaces of a span and of the recorder of spans."""

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

from noetl_common.telemetry.carrier import Context

type Kind = Literal["internal", "server", "client", "producer", "consumer"]
type Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """An open span."""

    @property
    def context(self) -> Context:
        """The trace context for children of the span."""

    def rename(self, name: str) -> None:
        """Change the name, which is sometimes known only later."""

    def add_attributes(self, attributes: Attributes) -> None:
        """Add attributes."""

    def fail(self, error: str) -> None:
        """Mark the span as failed."""

    def end(self, *, at_ns: int | None = None, error: str | None = None) -> None:
        """End the span, now or at a given time; a span that is never ended is never sent."""


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
        """Begin a span; without a parent, the span begins a new trace."""

    def ignores(self, parent: Context) -> bool:
        """Return whether spans below a context are not recorded, so that callers can skip them."""

    def close(self) -> None:
        """Send the remaining spans."""
