"""Outcomes of scripts."""

from collections.abc import Callable
from dataclasses import dataclass

from noetl_contract.http.workers.output import OutputStream
from noetl_contract.json import Json

type Listener = Callable[[OutputStream, bytes], None]
"""Gets what a script prints, as it is read."""

MISSING: Json = object()
"""Value of a script that has reported none."""


class InterpreterLost(Exception):
    """The interpreter itself ended; the run, if there was one, ended with it."""


@dataclass(slots=True)
class Run:
    """End of a script. ``exit_code`` is negative for a signal."""

    exit_code: int = 0
    value: Json = MISSING
    stdout: str = ""
    stderr: str = ""
    timed_out: bool = False
    too_large: bool = False
    unreadable: bool = False
    """It reported something that is no JSON, or has too many levels."""
    refused: str | None = None
    """Path and reason of the part of its result that has no JSON."""
    excess: str | None = None
    """Resource that it used too much of, in words, and was killed for."""
    cwd_error: str | None = None
    file_error: str | None = None

    @property
    def has_value(self) -> bool:
        """Whether the script came to its end and its result (perhaps null) is known."""
        return self.value is not MISSING
