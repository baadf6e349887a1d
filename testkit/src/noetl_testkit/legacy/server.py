"""Answers of the stand-in: bodies, codes and texts of NoETL's server 3.8."""

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from noetl_testkit.legacy.executions import Executions
from noetl_testkit.legacy.stored import Credentials, Documents, Keychains, Workers
from noetl_testkit.web import Request, Response

type Answering = Callable[..., Response]


class LegacyServer:
    """Keeps everything in memory; one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids = Ids()
        documents = Documents(self._ids)
        executions = Executions(self._ids, documents)
        stored = (documents, Credentials(self._ids), Keychains(), Workers(self._ids), executions)
        self._routes: list[tuple[str, re.Pattern[str], Answering]] = [
            ("GET", re.compile("/api/health"), _health),
            *((method, re.compile(path), answer) for one in stored
              for method, path, answer in one.routes()),
        ]  # fmt: skip

    def answer(self, request: Request) -> Response:
        """Answer a request: 405 where only its method is wrong, else an empty 404."""
        known = False
        for method, pattern, answering in self._routes:
            found = pattern.fullmatch(request.path)
            if found is None:
                continue
            known = True
            if method == request.method:
                with self._lock:
                    return answering(request, **found.groupdict())
        return Response(b"", 405 if known else 404)


class Ids:
    """Application ids: of machine 1023, so that no other process makes the same."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """Return a new id, larger than every one before."""
        since = datetime.now(UTC).timestamp() - 1_704_067_200
        self._last = max(self._last + 1, int(since * 1000) << 22 | 1023 << 12)
        return self._last


def _health(_request: Request) -> Response:
    return Response({"status": "ok", "version": "3.8.0", "database": "connected"})
