"""Grants of the providers' secrets to playbooks, by the path of the playbook.

The catalog asks providers with its own identity, which reaches what no author need reach. So a
playbook below a path gets the references that are granted to that path, and no others.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from noetl_common.errors import Permanent
from noetl_contract.access.principal import is_below

from noetl_catalog.providers.registry import kind_of

_NOT_PLAIN = re.compile(r"(^|/)\.{1,2}(/|$|#|:)|//|[%\\\x00-\x20\x7f]")


class ReferenceRefused(Permanent):
    """A playbook may not ask a provider for a secret; the text names no secret."""

    template = (
        "Keychain entry '{alias}': '{path}' may not ask {provider} for '{reference}';"
        " NOETL_KEYCHAIN_REFERENCES grants references to paths"
    )
    http_status = 403


class BadReferences(Permanent):
    """The setting is unusable."""

    template = "NOETL_KEYCHAIN_REFERENCES: {problem}"
    http_status = 500


@dataclass(frozen=True, slots=True)
class _Pattern:
    prefix: str
    kind: str
    pattern: re.Pattern[str]


class ReferenceGrants:
    """The grants of the setting.

    Args:
        patterns: grants in force; None where every reference is free.
    """

    def __init__(self, patterns: Sequence[_Pattern] | None) -> None:
        self._patterns = patterns

    @property
    def is_free(self) -> bool:
        """Whether every playbook may read every secret."""
        return self._patterns is None

    def check(self, path: str, *, alias: str, provider: str, reference: str) -> None:
        """Check that a playbook may read a secret of a provider.

        Raises:
            ReferenceRefused: it is not granted.
        """
        if self._patterns is None:
            return
        kind = kind_of(provider)
        place = reference.strip()
        # A reference that its provider may read in another way than it looks matches nothing.
        if not _NOT_PLAIN.search(place) and any(
            grant.kind == kind and is_below(path, grant.prefix) and grant.pattern.fullmatch(place)
            for grant in self._patterns
        ):
            return
        raise ReferenceRefused(
            alias=alias, path=path, provider=f"provider '{provider[:50]}'", reference=place[:200]
        )


def read_grants(text: str, *, is_needed: bool) -> ReferenceGrants:
    """Read the setting: a JSON object of path prefixes with lists of ``provider:pattern``.

    Args:
        text: the setting; empty grants nothing, or everything where grants aren't needed.
        is_needed: whether callers have to log in here.

    Raises:
        BadReferences: it is unusable.
    """
    if not text.strip():
        return ReferenceGrants([] if is_needed else None)
    try:
        granted = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadReferences(problem=f"no JSON ({error.msg})") from None
    if not isinstance(granted, Mapping):
        raise BadReferences(problem="no JSON object of path prefixes")
    return ReferenceGrants(
        [_read(prefix, entry) for prefix, entries in granted.items() for entry in _list(entries)]
    )


def _list(entries: object) -> list[str]:
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise BadReferences(problem="a path prefix has no list of texts")
    return entries


def _read(prefix: str, entry: str) -> _Pattern:
    provider, colon, pattern = entry.partition(":")
    if not colon or not provider or not pattern:
        raise BadReferences(problem=f"{entry[:100]!r} is not of the form provider:pattern")
    parts = (".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", pattern))
    return _Pattern(prefix, kind_of(provider), re.compile("".join(parts), re.DOTALL))
