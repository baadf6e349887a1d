"""Extensions from other packages by entry points: found, named and loaded in one way."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from noetl_common.errors import Permanent


class BadExtension(Permanent):
    """An extension of an installed package can't be used."""

    template = "the {what} '{name}' of {package} can't be used: {reason}"


@dataclass(frozen=True, slots=True)
class Extension:
    """One entry point.

    Attributes:
        what: it is, as messages name it, such as ``tool``.
        name: of the entry point.
        package: the distribution with its version; without one where its value points to.
    """

    what: str
    name: str
    package: str
    entry: EntryPoint

    def load(self) -> Any:
        """Import the object that it points to.

        Raises:
            BadExtension: that can't be imported, as beside another release.
        """
        try:
            return self.entry.load()
        except Exception as error:
            raise self.refused(f"{type(error).__name__}: {error}") from error

    def refused(self, reason: str) -> BadExtension:
        """Return the error for an unusable extension, with a reason."""
        return BadExtension(what=self.what, name=self.name, package=self.package, reason=reason)


def extensions(
    group: str,
    what: str,
    *,
    taken: Iterable[str] = (),
    found: Iterable[EntryPoint] | None = None,
) -> Iterator[Extension]:
    """Return the entry points of a group; nothing is imported.

    Args:
        group: of the entry points.
        what: each is, as messages name it.
        taken: names that none may have.
        found: entry points instead of those of the installed packages.

    Raises:
        BadExtension: two have the same name.
    """
    names = set(taken)
    for entry in entry_points(group=group) if found is None else found:
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        extension = Extension(what, entry.name, package, entry)
        if entry.name in names:
            raise extension.refused("another one has that name")
        names.add(entry.name)
        yield extension
