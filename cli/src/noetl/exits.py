"""Exit codes of the commands, with the meaning of each."""

from enum import IntEnum
from typing import Self


class Exit(IntEnum):
    """Exit codes of commands."""

    DONE = 0, "it was done; what was waited for has completed"
    FAILED = (
        1,
        ("it was refused, or what was waited for has failed or was cancelled; stderr says why"),
    )
    USAGE = 2, "the command line can't be understood; nothing was done"
    SOFT_ERRORS = 3, "the execution has completed with soft errors"
    UNREACHABLE = 4, "the server gave no answer, or not now; the same command may be tried again"
    STILL_RUNNING = 5, "the execution runs on, and the time to wait for it is over"
    INTERRUPTED = 130, "ended by Ctrl-C"

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make a code with its meaning."""
        made = int.__new__(cls, code)
        made._value_ = code
        made.meaning = meaning
        return made
