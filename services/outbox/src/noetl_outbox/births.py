"""When the streams were created that rows were published to."""

from datetime import datetime

__all__ = ["Births"]


class Births:
    """When each stream was created, as of the last look.

    Read before publishing: a stream that is replaced in between is younger than what the row
    then says, which makes the row look lost and costs one repetition, not a message (O5).
    """

    def __init__(self) -> None:
        self._known: dict[str, datetime] = {}

    def of(self, stream: str) -> datetime | None:
        """Return the birth of a stream, if it was looked at."""
        return self._known.get(stream)

    def learn(self, stream: str, birth: datetime) -> None:
        """Remember a birth; the mapping is replaced so that earlier snapshots stay."""
        self._known = {**self._known, stream: birth}

    def snapshot(self) -> dict[str, datetime]:
        """Return what is known now."""
        return self._known
