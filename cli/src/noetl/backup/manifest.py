"""Parts of a backup: a folder with a dump of each database and `manifest.json`."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from noetl.stack.errors import StackError

NAME = "manifest.json"
_CHUNK = 1 << 20


class Dump(BaseModel):
    """One database.

    Attributes:
        file: name in the folder.
        database: its name when it was dumped.
        migration: version of its newest migration.
        size: bytes of the file.
        sha256: of the file, in hexadecimal digits.
        taken_at: the moment of which the dump is, by this machine's clock.
    """

    file: str = Field(pattern=r"^[a-z0-9_]+\.dump$")
    database: str
    migration: str
    size: int
    sha256: str
    taken_at: AwareDatetime


class Manifest(BaseModel):
    """A backup of an installation.

    Attributes:
        format: of this file.
        release: of the program that made the backup.
        pg_dump: major version of the program that wrote the dumps.
        shards: number of shards.
        dumps: by what they hold: `cluster`, `shard_0`, …; one database is `shard_0` alone.
    """

    format: Literal[1] = 1
    release: str
    pg_dump: int
    shards: int
    dumps: dict[str, Dump]


def read_manifest(folder: Path) -> Manifest:
    """Read a backup's manifest; `compare_files` reads the files that it lists.

    Raises:
        StackError: it isn't there, or isn't legible.
    """
    path = folder / NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StackError(f"{folder} is no backup: {path.name}: {error.strerror}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"])) or "the file"
        raise StackError(f"{path} can't be read: {place}: {problem['msg']}") from error


def compare_files(folder: Path, manifest: Manifest) -> None:
    """Read the files of a backup and compare them with its manifest.

    Raises:
        StackError: a file is missing or damaged.
    """
    for dump in manifest.dumps.values():
        try:
            known = digest(folder / dump.file)
        except OSError as error:
            raise StackError(f"{folder / dump.file}: {error.strerror}") from error
        if known != dump.sha256:
            raise StackError(f"{folder / dump.file} is damaged: its SHA-256 isn't that of {NAME}")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()
