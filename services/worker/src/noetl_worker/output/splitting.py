"""Lines out of the bytes of one stream, whose parts may be left out."""

from noetl_worker.redaction import REDACTED

LONGEST_RAW = 16 << 10
"""Bytes of a line that are looked at: more than are shown, so that no secret is cut in two."""

_BEGIN, _END, _KEY = b"-----BEGIN ", b"-----END ", b"PRIVATE KEY-----"
_OVERLAP = 16


class Splitter:
    """Cuts a stream into lines. Carriage returns end a line, too: progress bars have no other.

    A line of which a part was left out is left out as a whole: a secret may begin in that part.
    The lines of a private key are replaced, whether or not its first line was left out.
    """

    __slots__ = ("_cut", "_has_return", "_is_key", "_is_torn", "_rest", "_seen")

    def __init__(self) -> None:
        self._rest = b""
        self._cut = 0
        self._is_torn = False
        self._is_key = False
        self._has_return = False
        # The last bytes of what was left out: a mark may be half in it.
        self._seen = b""

    def take(self, data: bytes) -> list[str | None]:
        """Return the lines that end in these bytes; None for a line that is left out."""
        *whole, rest = self._plain(data).split(b"\n")
        found = []
        for part in whole:
            self._add(part)
            found.append(self._finish())
        self._add(rest)
        return found

    def skip(self, data: bytes) -> int:
        """Leave bytes out; return the number of lines that end in them."""
        data = self._plain(data)
        if data:
            self._look_for_keys(self._rest + data)
            self._rest, self._cut = b"", 0
            self._is_torn = not data.endswith(b"\n")
        return data.count(b"\n")

    def finish(self) -> list[str | None]:
        """Return the last line, which has no end, if there is one."""
        return [self._finish()] if self._rest or self._is_torn else []

    def _plain(self, data: bytes) -> bytes:
        if self._has_return and data.startswith(b"\n"):
            data = data[1:]
        self._has_return = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _add(self, part: bytes) -> None:
        room = LONGEST_RAW - len(self._rest)
        if len(part) > room:
            self._look_for_keys(self._rest[-_OVERLAP:] + part)
            self._cut += len(part) - room
            part = part[:room]
        self._rest += part

    def _finish(self) -> str | None:
        line, cut, is_torn = self._rest, self._cut, self._is_torn
        self._rest, self._cut, self._is_torn = b"", 0, False
        was_key = self._is_key
        seen = self._seen + line if is_torn else line
        if was_key:
            self._is_key = _END not in seen
        elif _KEY in seen and _BEGIN in seen:
            self._is_key = seen.rfind(_BEGIN) > seen.rfind(_END)
        if is_torn:
            return None
        if was_key:
            return REDACTED
        text = line.decode("utf-8", "replace")
        return f"{text}… {cut} more bytes" if cut else text

    def _look_for_keys(self, data: bytes) -> None:
        seen = self._seen + data
        begin, end = seen.rfind(_BEGIN), seen.rfind(_END)
        if begin != end:
            self._is_key = begin > end
        self._seen = seen[-_OVERLAP:]
