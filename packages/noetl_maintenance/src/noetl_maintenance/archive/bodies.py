"""Bodies of large results that lie in buckets: into an archive, and back to where rows name them.

In a volume each body is a file of its own, named by its SHA-256, so that equal ones are there once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import duckdb
from noetl.backup.manifest import digest
from noetl.stack.errors import StackError
from noetl_common.errors import NoetlError
from noetl_projector.results.bodies.bucket import open_buckets
from noetl_projector.results.bodies.place import BodyDamaged, BodyGone
from noetl_projector.results.bodies.places import Places
from noetl_projector.settings import Settings
from pydantic import ValidationError

from noetl_maintenance.archive import parquet
from noetl_maintenance.archive.manifest import Manifest, Volume
from noetl_maintenance.archive.place import Place

_COLUMNS = "execution_id, name, store, location, bytes, sha256"


@dataclass(frozen=True, slots=True)
class Body:
    """A body as its row describes it."""

    execution_id: int
    name: str
    store: str
    location: str
    size: int
    sha256: str

    def __str__(self) -> str:
        return f"execution {self.execution_id}: the body of result '{self.name}'"


class Buckets:
    """The buckets of results, by the settings of the projector in the environment."""

    def __init__(self, places: Places) -> None:
        self._places = places

    @classmethod
    def opened(cls) -> Self:
        """Read the settings; nothing is connected.

        Raises:
            StackError: a setting is wrong.
        """
        try:
            return cls(Places(open_buckets(Settings()), chosen=""))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise StackError(f"the settings of results: {problem['msg']}") from error

    async def read(self, body: Body) -> bytes | None:
        """Return a body; None if it is gone or another than its row says.

        Raises:
            StackError: its bucket doesn't answer, or no setting names it.
        """
        _refuse_others(body)
        try:
            return await self._places.read(
                body.store, body.location, size=body.size, digest=body.sha256
            )
        except (BodyGone, BodyDamaged):
            return None
        except NoetlError as error:
            raise StackError(f"{body}: {error.message}") from error

    async def put(self, body: Body, content: bytes) -> None:
        """Put a body back to where its row says.

        Raises:
            StackError: its bucket doesn't answer, or no setting names it.
        """
        _refuse_others(body)
        try:
            await self._places.put(body.store, body.location, content)
        except NoetlError as error:
            raise StackError(f"{body}: {error.message}") from error


@dataclass(slots=True)
class Copied:
    """Bodies of a volume that were copied, and those that are gone.

    Attributes:
        sizes: of those that are there, by their SHA-256.
        missing: those that aren't.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    missing: list[Body] = field(default_factory=list)


async def copy(buckets: Buckets, bodies: Sequence[Body], place: Place, folder: str) -> Copied:
    """Copy bodies into a volume, one at a time in memory.

    Raises:
        StackError: a bucket doesn't answer, or the archive can't be written.
    """
    copied = Copied()
    for body in bodies:
        if body.sha256 in copied.sizes:
            continue
        content = await buckets.read(body)
        if content is None:
            copied.missing.append(body)
            continue
        place.put(_file(folder, body.sha256), content)
        copied.sizes[body.sha256] = len(content)
    return copied


def problems(
    place: Place, volume: Volume, manifest: Manifest, duck: duckdb.DuckDBPyConnection, rows: Path
) -> Iterator[str]:
    """Yield a line for each body of a volume that is damaged, or that its rows name in vain.

    A volume that was written without bodies has none.
    """
    if manifest.bodies is None:
        return
    for sha256, size in manifest.bodies.items():
        path = _file(volume.folder, sha256)
        with TemporaryDirectory(prefix="noetl-archive-") as scratch:
            target = Path(scratch) / "body"
            try:
                place.fetch(path, target)
            except StackError as error:
                yield str(error)
                continue
            if target.stat().st_size != size or digest(target) != sha256:
                yield f"{place.name}/{path} is damaged: its SHA-256 isn't its name"
    known = {*manifest.bodies, *manifest.missing_bodies}
    for body in described(duck, rows):
        if body.sha256 not in known:
            yield f"{place.name}/{volume.folder}: {body} isn't in the volume"


def described(
    duck: duckdb.DuckDBPyConnection, rows: Path, *, execution_id: int | None = None
) -> Iterator[Body]:
    """Yield the bodies elsewhere that the rows of a volume name, of one execution or of all."""
    found = parquet.rows(duck, rows, _COLUMNS, order="execution_id")
    for owner, name, store, location, size, sha256 in found:
        one = int(str(owner))
        if location is not None and execution_id in {None, one}:
            yield Body(one, str(name), str(store), str(location), int(str(size)), str(sha256))


async def put_back(
    buckets: Buckets, bodies: Sequence[Body], place: Place, volume: Volume, manifest: Manifest
) -> None:
    """Put bodies of a volume back to where their rows say.

    Raises:
        StackError: one is damaged in the archive, or its bucket doesn't answer.
    """
    for body in bodies:
        if manifest.bodies is None or body.sha256 not in manifest.bodies:
            continue
        path = _file(volume.folder, body.sha256)
        with TemporaryDirectory(prefix="noetl-archive-") as scratch:
            target = Path(scratch) / "body"
            place.fetch(path, target)
            if digest(target) != body.sha256:
                raise StackError(f"{place.name}/{path} is damaged: its SHA-256 isn't its name")
            await buckets.put(body, target.read_bytes())


def _refuse_others(body: Body) -> None:
    if body.store == "object":
        raise StackError(f"{body} lies in the broker's object store, which archives don't read")


def _file(folder: str, sha256: str) -> str:
    return f"{folder}bodies/{sha256}"
