"""A program of a fork server, whose processes write bytes on demand."""

import os
import resource
import signal
from collections.abc import Callable
from typing import Any

NOBODY = 65_534


def load(given: dict[str, Any]) -> Callable[[bytes, list[int], int], None]:
    """Return a function that writes a requested number of bytes to its descriptor, and a word.

    Args:
        given: has a false `forks` where no process may be forked before SIGUSR1 comes.
    """
    if given.get("forks") is False:
        # Nobody's bound holds for root.
        if os.getuid() == 0:
            os.setresuid(NOBODY, NOBODY, NOBODY)
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
        signal.signal(
            signal.SIGUSR1,
            lambda *_: resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard)),
        )
    return _write


def _write(request: bytes, descriptors: list[int], _parent: int) -> None:
    with os.fdopen(descriptors[0], "wb") as file:
        file.write(b"." * int(request) + b"done")
