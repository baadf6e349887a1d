"""Storage of archives: a folder, or a bucket of S3, Google Cloud Storage or Azure."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self

import obstore
from noetl.stack.errors import StackError
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store, from_url

_LONGEST_REASON = 200
_SECONDS = 600
_PIECE = 8 << 20


class Place:
    """Files by their names below one address; a name has no leading slash.

    Every method raises `StackError` when the place can't be reached or lacks the file.
    """

    def __init__(self, name: str, store: S3Store | GCSStore | AzureStore | LocalStore) -> None:
        self.name = name
        self._store = store

    @classmethod
    def at(cls, address: str, *, make: bool = False) -> Self:
        """Return the place of an address.

        Logins of buckets come from the environment, as those of their makers' own tools do.

        Args:
            address: a path, or ``s3://bucket/prefix``, ``gs://…`` or ``az://…``.
            make: whether a folder that isn't there is made.

        Raises:
            StackError: the address is of no known kind, or its folder isn't there.
        """
        if "://" not in address:
            folder = Path(address).absolute()
            if not folder.is_dir() and not make:
                raise StackError(f"{folder} is no folder")
            with _as_stack_error(address):
                folder.mkdir(parents=True, exist_ok=True)
                return cls(str(folder), LocalStore(folder))
        scheme = address.partition("://")[0]
        if scheme not in {"s3", "gs", "az"}:
            raise StackError(f"{address}: an archive is a folder, s3://, gs:// or az://")
        with _as_stack_error(address):
            store = from_url(
                address,
                client_options={"timeout": timedelta(seconds=_SECONDS), "allow_http": True},
            )
        if not isinstance(store, S3Store | GCSStore | AzureStore):
            raise StackError(f"{address}: an archive is a folder, s3://, gs:// or az://")
        return cls(address, store)

    def put(self, name: str, content: bytes | Path) -> None:
        """Store a file, whole or not at all."""
        with _as_stack_error(f"{self.name}/{name}"):
            obstore.put(self._store, name, content, chunk_size=_PIECE)

    def get(self, name: str) -> bytes:
        """Return a small file."""
        with _as_stack_error(f"{self.name}/{name}"):
            return bytes(obstore.get(self._store, name).bytes())

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file to this machine."""
        with _as_stack_error(f"{self.name}/{name}"), target.open("wb") as file:
            for piece in obstore.get(self._store, name).stream(min_chunk_size=_PIECE):
                file.write(piece)

    def names(self, ending: str) -> list[str]:
        """Return the names of the files that end so, sorted."""
        with _as_stack_error(self.name):
            found = [one["path"] for page in obstore.list(self._store) for one in page]
        return sorted(name for name in found if name.endswith(ending))


@contextmanager
def _as_stack_error(name: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
        raise StackError(f"{name}: {reason}") from error
