"""Differences of two answers, without those that two servers may have."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from noetl_contract.json import Json

# Made anew by each server, or counted by it.
_FREE = frozenset(
    {
        "access_count", "accessed_at", "created_at", "generated_at", "heartbeat", "runtime_id",
        "updated_at", "uptime_seconds", "server_time", "hostname", "instance",
    }
)  # fmt: skip
# By the first of these that both lists have, their objects are paired.
_KEYS = ("catalog_id", "execution_id", "event_id", "id", "name", "keychain_name", "path", "step")
_MOST_DEPTH = 60
_MOST_SHOWN = 120


def differences(old: Json, new: Json, place: str = "") -> Iterator[tuple[str, str]]:
    """Return where the new answer lacks something of the old one, or says something else.

    What the new one says beside it is no difference. Ids are the same as text and as number,
    times are compared as moments, and lists of objects by what names them.

    Returns:
        Pairs of the place in the answer and what is different there.
    """
    if place.count(".") > _MOST_DEPTH:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _of_objects(old, new, place)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _of_lists(old, new, place)
    elif not is_same(old, new):
        yield place or ".", f"{_shown(old)} there, {_shown(new)} here"


def _of_objects(
    old: Mapping[str, Json], new: Mapping[str, Json], place: str
) -> Iterator[tuple[str, str]]:
    for key, value in old.items():
        where = f"{place}.{key}"
        if key in new:
            if key not in _FREE:
                yield from differences(value, new[key], where)
        elif value is not None:
            yield where, "missing here"


def _of_lists(old: list[Json], new: list[Json], place: str) -> Iterator[tuple[str, str]]:
    key = _key_of(old, new)
    if key is None:
        if len(old) != len(new):
            yield place or ".", f"{len(old)} elements there, {len(new)} here"
            return
        for first, second in zip(old, new, strict=True):
            yield from differences(first, second, f"{place}[]")
        return
    known = {_name(one[key]): one for one in new}
    for one in old:
        twin = known.get(_name(one[key]))
        if twin is None:
            yield f"{place}[]", f"{key} {_shown(one[key])} is missing here"
        else:
            yield from differences(one, twin, f"{place}[]")


def _key_of(old: list[Json], new: list[Json]) -> str | None:
    whole = [*old, *new]
    if not all(isinstance(one, dict) for one in whole):
        return None
    for key in _KEYS:
        if all(key in one for one in whole):
            names = [_name(one[key]) for one in old]
            if len(set(names)) == len(names):
                return key
    return None


def is_same(old: Json, new: Json) -> bool:
    """Return whether two values mean the same: ids as text and number, times in two spellings."""
    if old == new and isinstance(old, bool) == isinstance(new, bool):
        return True
    if isinstance(old, str | int) and isinstance(new, str | int):
        is_plain = not isinstance(old, bool) and not isinstance(new, bool)
        if is_plain and str(old) == str(new):
            return True
    if isinstance(old, str) and isinstance(new, str):
        moments = _moment(old), _moment(new)
        return None not in moments and moments[0] == moments[1]
    return False


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _name(value: Json) -> str:
    return str(value)


def _shown(value: Json) -> str:
    text = repr(value) if not isinstance(value, dict | list) else f"a {type(value).__name__}"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
