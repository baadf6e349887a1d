"""Cache of plug-ins: the values used last, within bounds."""

from collections import OrderedDict


class Kept[T]:
    """Values by key; the value that was used longest ago goes first.

    Args:
        most: values.
        most_bytes: what they take together; the newest stays, whatever it takes.
    """

    def __init__(self, *, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._found: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> T | None:
        """Return a value, which is used last then."""
        found = self._found.get(key)
        if found is None:
            return None
        self._found.move_to_end(key)
        return found[0]

    def put(self, key: str, value: T, *, size: int) -> None:
        """Keep a value that takes so many bytes."""
        self._bytes -= self._found.pop(key, (None, 0))[1]
        self._found[key] = value, size
        self._bytes += size
        while len(self._found) > self._most or (
            self._bytes > self._most_bytes and len(self._found) > 1
        ):
            self._bytes -= self._found.popitem(last=False)[1][1]
