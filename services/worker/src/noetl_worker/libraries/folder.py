"""The folder of environments: those that exist, those in use, and the removal of old ones.

Every environment has a lock file beside it. Who uses an environment holds it shared, who makes
or removes one holds it alone; so processes that share the folder, and die, need no other word.

    environments/<name>/     the packages, complete since the rename that put them there
    locks/<name>             its time is that of the last use
    building/<name>.…        what is being made, or was when a process died
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from noetl_worker.libraries.errors import LibrariesFailed

_BLOCK: Final = 512


class Hold:
    """A lock on an environment; closing it gives the environment free."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def share(self) -> None:
        """Let others use it too."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def used(self) -> None:
        """Note that it is used now."""
        os.utime(self._descriptor)

    def close(self) -> None:
        """Give it free; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Folder:
    """The environments below one folder; all methods block, none for long but `remove_old`."""

    def __init__(self, root: Path, *, problem: str | None = None) -> None:
        """Make nothing yet.

        Args:
            root: the folder.
            problem: why it must not be used.
        """
        self._root = root
        self._problem = problem

    def prepare(self) -> None:
        """Make missing folders, for this user alone.

        Raises:
            OSError: it can't be made.
            LibrariesFailed: it must not be used.
        """
        if self._problem is not None:
            raise LibrariesFailed(self._problem)
        for name in ("environments", "locks", "building"):
            (self._root / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def place_of(self, name: str) -> Path:
        """Return where an environment is, or would be."""
        return self._root / "environments" / name

    def use(self, name: str) -> Hold | None:
        """Return a shared hold of an environment; None where it is not there or being made."""
        hold = self._lock(name, fcntl.LOCK_SH)
        if hold is None:
            return None
        if not self.place_of(name).is_dir():
            hold.close()
            return None
        hold.used()
        return hold

    def begin(self, name: str) -> Hold | None:
        """Return a hold for making or removing an environment; None while there is another hold."""
        return self._lock(name, fcntl.LOCK_EX)

    def building(self, name: str) -> Path:
        """Return a new place for making an environment, on the same disk."""
        return Path(tempfile.mkdtemp(prefix=f"{name}.", dir=self._root / "building"))

    def finish(self, name: str, made: Path) -> None:
        """Put a new environment into its place; its hold is taken."""
        made.rename(self.place_of(name))

    def remove_old(self, *, most_bytes: int) -> int:
        """Remove environments until the others fit; return how many.

        Those in use stay, and what processes left behind that have ended goes.
        """
        self._remove_left_behind()
        sizes = {name: size_of(self.place_of(name)) for name in self._names()}
        total, removed = sum(sizes.values()), 0
        for name in sorted(sizes, key=self._used_at):
            if total <= most_bytes:
                break
            if self._remove(name):
                total -= sizes[name]
                removed += 1
        return removed

    def size(self) -> int:
        """Return the bytes of all environments."""
        return size_of(self._root / "environments")

    def _names(self) -> list[str]:
        with contextlib.suppress(OSError):
            return [place.name for place in (self._root / "environments").iterdir()]
        return []

    def _used_at(self, name: str) -> float:
        try:
            return (self._root / "locks" / name).stat().st_mtime
        except OSError:
            return 0.0

    def _remove(self, name: str) -> bool:
        hold = self.begin(name)
        if hold is None:
            return False
        try:
            # Out of its place first: half of an environment is none.
            gone = self.building(name) / "removed"
            self.place_of(name).rename(gone)
            shutil.rmtree(gone.parent, ignore_errors=True)
            (self._root / "locks" / name).unlink(missing_ok=True)
        except OSError:
            return False
        finally:
            hold.close()
        return True

    def _remove_left_behind(self) -> None:
        for place in (self._root / "building").iterdir():
            hold = self.begin(place.name.rpartition(".")[0])
            if hold is not None:
                shutil.rmtree(place, ignore_errors=True)
                hold.close()

    def _lock(self, name: str, how: int) -> Hold | None:
        path = self._root / "locks" / name
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
                is_current = os.fstat(descriptor).st_ino == path.stat().st_ino
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError:
                is_current = False
            if is_current:
                return Hold(descriptor)
            os.close(descriptor)  # removed between the two: there is another one, or none


def size_of(place: Path) -> int:
    """Return the bytes on disk below a folder."""
    return sum(_sizes(place))


def _sizes(place: Path) -> Iterator[int]:
    pending = [str(place)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    yield entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
