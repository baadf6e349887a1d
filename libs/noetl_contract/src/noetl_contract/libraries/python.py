"""Versions of Python that a script's header allows."""

import re
from collections.abc import Callable
from typing import Final

_CLAUSE: Final = re.compile(r" *(===?|~=|!=|<=?|>=?) *([0-9]+(?:\.[0-9]+)*)(\.\*)? *")

type _Version = tuple[int, ...]


def is_specifier(text: str) -> bool:
    """Return whether a text is one or more clauses, such as `>=3.11, <4`."""
    return all(_CLAUSE.fullmatch(clause) for clause in text.split(","))


def allows(specifier: str, version: str) -> bool:
    """Return whether clauses allow a version `major.minor`; a patch number in a clause is open."""
    numbers = _numbers(version)
    clauses = map(_CLAUSE.fullmatch, specifier.split(","))
    return all(
        found is not None and _CHECKS[found[1]](numbers, _numbers(found[2]), bool(found[3]))
        for found in clauses
    )


def _numbers(text: str) -> _Version:
    return tuple(map(int, text.split(".")))


def _pair(wanted: _Version) -> _Version:
    return (*wanted, 0)[:2]


def _is(version: _Version, wanted: _Version, is_open: bool) -> bool:  # noqa: FBT001  one of a table
    if is_open or len(wanted) > len(version):
        return version[: len(wanted)] == wanted[: len(version)]
    return version == _pair(wanted)


def _is_not(version: _Version, wanted: _Version, is_open: bool) -> bool:  # noqa: FBT001  as above
    return len(wanted) > len(version) or not _is(version, wanted, is_open)


def _at_least(version: _Version, wanted: _Version, _is_open: bool) -> bool:  # noqa: FBT001  as above
    return version >= _pair(wanted)


def _at_most(version: _Version, wanted: _Version, _is_open: bool) -> bool:  # noqa: FBT001  as above
    return version <= _pair(wanted)


def _below(version: _Version, wanted: _Version, _is_open: bool) -> bool:  # noqa: FBT001  as above
    return version < _pair(wanted) or (version == _pair(wanted) and any(wanted[2:]))


def _compatible(version: _Version, wanted: _Version, _is_open: bool) -> bool:  # noqa: FBT001  as above
    return version >= _pair(wanted) and version[: len(wanted) - 1] == wanted[:-1][: len(version)]


_CHECKS: Final[dict[str, Callable[[_Version, _Version, bool], bool]]] = {
    "==": _is,
    "===": _is,
    "!=": _is_not,
    ">=": _at_least,
    ">": _at_least,
    "<=": _at_most,
    "<": _below,
    "~=": _compatible,
}
