"""Extensions of other packages, which are registered as entry points."""

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
        what: kind of the extension in messages, such as ``tool``.
        name: name of the entry point.
        package: distribution with its version, or the value of an entry point without one.
    """

    what: str
    name: str
    package: str
    entry: EntryPoint

    def load(self) -> Any:
        """Import the object of the entry point.

        Raises:
            BadExtension: the import fails, for example because of an incompatible release.
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
    """Return the entry points of a group, without importing them.

    Args:
        group: group of the entry points.
        what: kind of the extensions in messages.
        taken: names that are already in use.
        found: entry points to use instead of those of the installed packages.

    Raises:
        BadExtension: two extensions have the same name.
    """
    names = set(taken)
    for entry in entry_points(group=group) if found is None else found:
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        extension = Extension(what, entry.name, package, entry)
        if entry.name in names:
            raise extension.refused("another one has that name")
        names.add(entry.name)
        yield extension
