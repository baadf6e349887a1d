"""Results that are stored outside of the log, and references to them."""

from collections.abc import Iterator, Mapping
from typing import cast

from noetl_contract.json import Json

from noetl_client.calls.call import Call, get

SCHEME = "noetl://"
_KEY = "_ref"
_REPORT = frozenset(
    {"status", "data", "error", "stdout", "stderr", "exit_code", "duration_ms", "task"}
)


def resolve(reference: str) -> Call[Json]:
    """Read a stored result by its `noetl://…` reference; needs the right `results.resolve`."""
    return get("/api/result/resolve", cast("type[Json]", object), ref=reference)


def data_of(stored: Json) -> Json:
    """Return the tool's result from the stored report of its call."""
    if isinstance(stored, dict) and "data" in stored and stored.keys() <= _REPORT:
        return stored["data"]
    return stored


def references_in(value: Json) -> Iterator[str]:
    """Yield each distinct reference in a value, at any depth."""
    seen: set[str] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        found = _reference(one)
        if found is not None:
            if found not in seen:
                seen.add(found)
                yield found
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def with_results(value: Json, results: Mapping[str, Json]) -> Json:
    """Return the value with its references replaced by stored results."""
    found = _reference(value)
    if found is not None:
        return results.get(found, value)
    if isinstance(value, dict):
        return {name: with_results(one, results) for name, one in value.items()}
    if isinstance(value, list):
        return [with_results(one, results) for one in value]
    return value


def _reference(value: Json) -> str | None:
    found = value.get(_KEY) if isinstance(value, dict) else None
    return found if isinstance(found, str) and found.startswith(SCHEME) else None
