"""Report of the changes that an import has made, or would make."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from noetl_contract.json import JsonObject

SECTIONS = ("catalog", "credentials", "keychain", "workers")
_MOST_NAMED = 10_000


@dataclass(slots=True)
class Section:
    """One sort of things.

    Attributes:
        came: how many are new here, or would be.
        present: how many were here already.
        left: those that aren't meant to come, with the reason.
        refused: those that can't come, with the reason.
        remarks: what is to be known of those that came.
        unnamed: how many more there are than are named.
    """

    came: int = 0
    present: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)
    unnamed: Counter[str] = field(default_factory=Counter)

    def leave(self, name: str, reason: str) -> None:
        """Note something that isn't meant to come."""
        self._note("left", name, reason)

    def refuse(self, name: str, reason: str) -> None:
        """Note something that can't come."""
        self._note("refused", name, reason)

    def remark(self, name: str, text: str) -> None:
        """Note a remark on something that came."""
        self._note("remarks", name, text)

    def count(self, what: str) -> int:
        """Return how many there are of ``left``, ``refused`` or ``remarks``."""
        return len(self._list(what)) + self.unnamed[what]

    def _note(self, what: str, name: str, text: str) -> None:
        known = self._list(what)
        if len(known) < _MOST_NAMED:
            known.append((name, text))
        else:
            self.unnamed[what] += 1

    def _list(self, what: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = getattr(self, what)
        return found


@dataclass(slots=True)
class Report:
    """All sorts of things; ``is_trial``: nothing was written."""

    source: str
    is_trial: bool
    catalog: Section = field(default_factory=Section)
    credentials: Section = field(default_factory=Section)
    keychain: Section = field(default_factory=Section)
    workers: Section = field(default_factory=Section)

    def sections(self) -> Iterator[tuple[str, Section]]:
        """Return the sorts by their names."""
        return ((name, getattr(self, name)) for name in SECTIONS)

    @property
    def is_whole(self) -> bool:
        """Whether everything came that was meant to."""
        return not any(section.count("refused") for _, section in self.sections())

    def as_json(self) -> JsonObject:
        """Return the report for programs."""
        told: JsonObject = {"source": self.source, "dry_run": self.is_trial}
        for name, section in self.sections():
            told[name] = {
                "new": section.came,
                "already_there": section.present,
                **{
                    what: [
                        {"name": one, "text": text}
                        for one, text in section._list(what)  # noqa: SLF001
                    ]
                    for what in ("left", "refused", "remarks")
                },
                "not_named": dict(section.unnamed),
            }
        return told

    def lines(self, *, most: int = 50) -> Iterator[str]:
        """Return the report for people, with so many names of each list."""
        verb = "would come" if self.is_trial else "came"
        for name, section in self.sections():
            yield (
                f"{name}: {section.came} {verb}, {section.present} were there, "
                f"{section.count('left')} stay behind, {section.count('refused')} can't come"
            )
            for what, word in (("refused", "can't come"), ("left", "stays"), ("remarks", "note")):
                named = section._list(what)  # noqa: SLF001
                for one, text in named[:most]:
                    yield f"  {word}: {one}: {text}"
                if section.count(what) > most:
                    yield f"  {word}: and {section.count(what) - most} more"
