"""A process itself: its end, and its protection from other processes of its user."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_DUMPABLE = 4


@contextmanager
def ending_at_once() -> Iterator[None]:
    """End the process immediately if the block raises ``SystemExit``, with its exit code.

    The interpreter's own teardown takes a quarter of a second for a large program. It also waits
    for threads, and a thread that reads from a dead mount never ends.
    Resources have to be closed within the block; handlers of ``atexit`` don't run.
    """
    try:
        yield
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


def hide_from_scripts() -> None:
    """Make `environ`, `mem` and `fd` in `/proc/<pid>` of this process unreadable for its own user.

    Scripts run under the user of their worker, which may also be the user of other services; they
    could read passwords and keys there. If the worker runs as root, its scripts also lose the
    capability that would bypass this.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):  # not Linux
        return
