"""Failures for a lack of the worker's machine: descriptors, threads, memory, ports."""

import errno
from collections.abc import Iterator

from noetl_worker.hosting.fork_server import PASSING

_LACKS = PASSING | {errno.ENOBUFS, errno.EADDRNOTAVAIL}
_MOST_CAUSES = 50


def lacks_means(error: BaseException) -> bool:
    """Return whether an error, or one that it comes from, is a lack of this machine.

    The caller has to know that nothing has begun: another worker may run the call then.
    """
    return any(_is_lack(one) for one in _with_causes(error))


def _is_lack(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _LACKS
    if isinstance(error, RuntimeError):
        return "can't start new thread" in str(error)
    return isinstance(error, MemoryError)


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    waiting = [error]
    for _ in range(_MOST_CAUSES):
        if not waiting:
            return
        one = waiting.pop()
        yield one
        waiting += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
