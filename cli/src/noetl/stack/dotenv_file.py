"""Load `.env` of the working directory, for `python -m noetl.server` and `noetl.worker`."""

from pathlib import Path

from dotenv import load_dotenv

from noetl.stack.errors import StackError

FILE = Path(".env")


def load() -> None:
    """Add the variables of the file that the environment doesn't have.

    Raises:
        StackError: the file is there and can't be read.
    """
    try:
        load_dotenv(FILE)
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"can't read {FILE.absolute()}: {error}") from error
