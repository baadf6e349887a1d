"""Bodies above the broker's limit, which travel as numbered parts."""

from collections.abc import Iterator, Mapping

from noetl_common.errors import TooLarge

__all__ = ["PART_HEADER", "PartCollector", "split"]

PART_HEADER = "Noetl-Part"
LARGEST_JOINED = 256 << 20
"""Largest answer that is joined: a runaway sender must not fill the memory."""


def split(body: bytes, *, limit: int) -> Iterator[tuple[dict[str, str], memoryview]]:
    """Cut a body into parts of at most ``limit`` bytes, each with its header."""
    count = -(-len(body) // limit)
    view = memoryview(body)
    for number in range(count):
        part = view[number * limit : (number + 1) * limit]
        yield {PART_HEADER: f"{number + 1}/{count}/{len(body)}"}, part


class PartCollector:
    """Joins parts in any order, repetitions included."""

    def __init__(self) -> None:
        self._parts: dict[int, bytes] = {}

    @staticmethod
    def is_part(headers: Mapping[str, str]) -> bool:
        """Tell whether a message is a part of a larger one."""
        return PART_HEADER in headers

    def add(self, headers: Mapping[str, str], data: bytes) -> bytes | None:
        """Take a part; return the whole body once it is complete.

        Raises:
            TooLarge: the announced body is larger than we put together.
        """
        number, count, size = (int(word) for word in headers[PART_HEADER].split("/"))
        if size > LARGEST_JOINED:
            raise TooLarge(what="an answer in parts", size=size, limit=LARGEST_JOINED)
        self._parts[number] = data
        if len(self._parts) < count:
            return None
        return b"".join(self._parts[index] for index in range(1, count + 1))
