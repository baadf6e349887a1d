"""Output of the steps of an execution, as lines of a log."""

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from noetl.follow.servers import client_of, connection_of
from noetl.logs.lines import Line
from noetl.printed import PrintedLine, follow_printed, printed_before

PLACE = "output"


@dataclass(frozen=True, slots=True)
class Source:
    """An execution at a server.

    Attributes:
        step: only what this one prints; None: all.
    """

    url: str
    token: str
    execution_id: str
    step: str | None
    as_json: bool

    def lines(self) -> list[Line]:
        """Return the output kept with results, in order of time.

        Raises:
            StackError: the server can't be asked, or refuses.
        """
        with client_of(self.url, self.token) as client:
            found = printed_before(client, self.execution_id, self.step)
        return [self._line(one) for one in found]

    def follow(self) -> None:
        """Print new lines until the execution has ended."""
        connection = connection_of(self.url, self.token)
        asyncio.run(follow_printed(connection, self.execution_id, self._print))

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Print new lines while the block runs."""
        threading.Thread(target=self.follow, name="output", daemon=True).start()
        yield

    def _print(self, line: PrintedLine) -> None:
        if self.step is None or line.step == self.step:
            said = self._line(line)
            text = json.dumps(said.fields) if self.as_json else f"{PLACE} | {said.text}"
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def _line(self, line: PrintedLine) -> Line:
        fields = line.as_json(self.execution_id) if self.as_json else None
        return Line(line.time, PLACE, str(line), fields)
