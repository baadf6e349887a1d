"""A process that can open nothing more, as under a load of other calls."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_descriptors() -> Iterator[None]:
    """Let no descriptor be opened during the block, also not in place of one that is closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The numbers below are those of the standard streams, which are open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
