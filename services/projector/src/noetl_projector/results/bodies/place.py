"""A place for bodies: what one does, and how it fails."""

from typing import Protocol

from noetl_common.errors import NoetlError, Transient


class PlaceUnavailable(Transient):
    """The place does not answer, or refuses us."""

    template = "the result store '{store}' is not available: {reason}"


class BodyGone(NoetlError):
    """A result is known, its body is not where it was put."""

    template = "the body of the result is gone from '{store}': {location}"


class BodyDamaged(NoetlError):
    """A body is not the one that was put there."""

    template = "the body of the result in '{store}' is damaged, its checksum differs: {location}"


class BodyPlace(Protocol):
    """Keeps bodies under locations that name everything needed to find them again."""

    name: str
    """As in result rows and answers."""

    def location(self, key: str) -> str:
        """Return where a new body of this key goes."""

    async def put(self, location: str, body: bytes) -> None:
        """Keep a body; twice is once.

        Raises:
            PlaceUnavailable: it may be there or not.
        """

    async def get(self, location: str, *, size: int) -> bytes:
        """Return a body of a known size.

        Raises:
            PlaceUnavailable: no answer.
            BodyGone: there is none.
            BodyDamaged: what is there is not what was put.
        """

    async def delete(self, location: str) -> None:
        """Remove a body; one that is gone is fine.

        Raises:
            PlaceUnavailable: it may still be there.
        """

    async def is_ready(self) -> bool:
        """Say whether it answers."""
