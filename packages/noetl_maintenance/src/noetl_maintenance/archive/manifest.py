"""Parts of an archive's volume: a file of each table, and `manifest.json`."""

import re
from dataclasses import dataclass
from typing import Literal, Self

from noetl.stack.errors import StackError
from pydantic import AwareDatetime, BaseModel, ValidationError

from noetl_maintenance.archive.place import Place

NAME = "manifest.json"
_FOLDER = re.compile(r"^(.*/)?(\d+)-(\d+)-\w+/manifest\.json$")


class TableFile(BaseModel):
    """The rows of one table.

    Attributes:
        columns: type of each column by its name, as PostgreSQL calls it.
        size: bytes of the file.
        sha256: of the file, in hexadecimal digits.
    """

    file: str
    rows: int
    columns: dict[str, str]
    size: int
    sha256: str


class Manifest(BaseModel):
    """A volume: some executions with everything that belongs to them.

    Attributes:
        format: of this file.
        release: of the program that wrote it.
        migration: version of the newest migration of the database.
        shard: the shard they come from, of so many.
        first: the first execution; ids are in their order.
        last: the last one.
        without_digest: executions whose log had no digest of all its events, and got it now.
        tables: by their names.
        bodies: sizes of results that lay in buckets, by the SHA-256 that is their file's name;
            None when they were not copied.
        missing_bodies: SHA-256 of those that were gone already.
    """

    format: Literal[1] = 1
    release: str
    migration: str
    shard: int
    shards: int
    first: int
    last: int
    executions: int
    events: int
    without_digest: int
    written_at: AwareDatetime
    tables: dict[str, TableFile]
    bodies: dict[str, int] | None = None
    missing_bodies: list[str] = []


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume by its name alone.

    Attributes:
        folder: its name in the archive, with a slash at its end.
    """

    folder: str
    first: int
    last: int

    @classmethod
    def named(cls, path: str) -> Self | None:
        """Return the volume of a manifest's name; None if it is no manifest."""
        found = _FOLDER.match(path)
        if found is None:
            return None
        return cls(path.removesuffix(NAME), int(found[2]), int(found[3]))

    def read(self, place: Place) -> Manifest:
        """Read its manifest.

        Raises:
            StackError: it can't be read.
        """
        path = f"{self.folder}{NAME}"
        try:
            return Manifest.model_validate_json(place.get(path))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"])) or "the file"
            raise StackError(
                f"{place.name}/{path} can't be read: {where}: {problem['msg']}"
            ) from error


def volumes(place: Place) -> list[Volume]:
    """Return the complete volumes of an archive; one without its manifest isn't."""
    found = [Volume.named(name) for name in place.names(NAME)]
    return [one for one in found if one is not None]
