"""The interface of a place for bodies, and its errors."""

from typing import Protocol

from noetl_common.errors import NoetlError, Transient


class PlaceUnavailable(Transient):
    """The place does not answer, or refuses access."""

    template = "the result store '{store}' is not available: {reason}"


class BodyGone(NoetlError):
    """The body of a known result is missing."""

    template = "the body of the result is gone from '{store}': {location}"


class BodyDamaged(NoetlError):
    """The body of a result is not the stored one: its checksum differs."""

    template = "the body of the result in '{store}' is damaged, its checksum differs: {location}"


class BodyPlace(Protocol):
    """A store of bodies under locations that suffice to find them again."""

    name: str
    """As in result rows and answers."""

    def location(self, key: str) -> str:
        """Return the location of a new body with this key."""

    async def put(self, location: str, body: bytes) -> None:
        """Store a body; repeating it changes nothing.

        Raises:
            PlaceUnavailable: the body may be stored or not.
        """

    async def get(self, location: str, *, size: int) -> bytes:
        """Return a body of a known size.

        Raises:
            PlaceUnavailable: no answer.
            BodyGone: it is missing.
            BodyDamaged: it differs from the stored body.
        """

    async def delete(self, location: str) -> None:
        """Remove a body; a missing body is no error.

        Raises:
            PlaceUnavailable: it may still be there.
        """

    async def is_ready(self) -> bool:
        """Return whether the place answers."""
