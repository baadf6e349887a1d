"""Results of the result store in the variables of a command, where its own templates name them."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from noetl_contract.json import Json
from noetl_template import MISSING, NotAtHand, Stored, TemplateError, lookups, with_fetched

from noetl_engine.commands.needed_results import templates_of
from noetl_engine.commands.rendering import question
from noetl_engine.state.results import StoredResult
from noetl_engine.state.values import rough_bytes

_ALIASES = frozenset({"ctx", "workload"})


def with_results_for_worker(
    flat: Mapping[str, Json], context: Mapping[str, Json]
) -> Mapping[str, Json]:
    """Return the variables of a command, with results that the templates left in it ask for.

    A worker knows references only, and renders these templates with what it is given.

    Args:
        flat: The variables.
        context: The command's context as built; of its variables the names count only.

    Raises:
        NeedResults: They have to be read first.
        EvaluateError: They can't be had.
    """
    parts = {key: value for key, value in context.items() if key != "render_context"}
    whole: set[str] = set()
    pieces: dict[str, list[_Piece]] = {}
    for text in templates_of(parts):
        for path in _paths(text):
            head, *rest = path[1:] if path[0] in _ALIASES and path[1:] else path
            if head not in flat:
                continue
            value = flat[head]
            if isinstance(value, StoredResult) and not value.is_fetched:
                pieces.setdefault(head, []).append(_piece_of(value, rest))
                continue
            for stored in _asked_for(value, rest):
                if not stored.is_fetched:
                    raise question(stored, is_whole=True)
                whole.add(head)
    if not whole and not pieces:
        return flat
    filled = with_fetched({name: flat[name] for name in whole})
    return {**flat, **filled, **{name: _put_together(flat[name], pieces[name]) for name in pieces}}


type _Piece = tuple[list[str], Json]


def _piece_of(stored: StoredResult, path: list[str]) -> _Piece:
    """Return the part of a result that a path names, and the path to it.

    Raises:
        NeedResults: The part has to be read first.
        EvaluateError: It can't be had.
    """
    value: Json = stored
    depth = 0
    try:
        for depth, name in enumerate(path):
            # Paths leave out the indexes of lists: all elements may be meant.
            if not isinstance(value, Stored) or value.is_list:
                return path[:depth], _of_worker(value)
            value = value.get(name, MISSING)
    except NotAtHand as error:
        raise question(error.stored.below(path[depth:]), is_whole=True) from error
    return path, _of_worker(value)


def _of_worker(value: Json) -> Json:
    if isinstance(value, StoredResult):
        raise question(value, is_whole=True)
    return value


def _put_together(stored: StoredResult, pieces: list[_Piece]) -> dict[str, Json]:
    """Return what is at hand of a result, with parts of it in their places."""
    made = stored.entries()
    for path, value in pieces:
        if value is MISSING or not path:
            continue
        inner = made
        for name in path[:-1]:
            below = inner.get(name)
            if isinstance(below, Stored):
                below = below.entries()
            inner[name] = dict(below) if isinstance(below, dict) else {}
            inner = inner[name]
        inner[path[-1]] = value
    return made


def own_bytes(context: Mapping[str, Json], known: Mapping[str, Json]) -> int:
    """Return roughly how many bytes a command holds beside the variables that all hold.

    Args:
        context: The command's context.
        known: The variables of all commands.
    """
    scope = context.get("render_context")
    scope = scope if isinstance(scope, Mapping) else {}
    own: dict[str, Json] = {
        name: value
        for name, value in scope.items()
        if name not in _ALIASES and value is not known.get(name)
    }
    # They are in `ctx` once more.
    return rough_bytes(context.get("tool_config")) + 2 * rough_bytes(own)


@lru_cache(maxsize=1024)
def _paths(text: str) -> frozenset[tuple[str, ...]]:
    try:
        return lookups(text)
    except TemplateError:
        return frozenset()  # the worker says what is wrong with it


def _asked_for(value: Json, path: list[str]) -> Iterator[StoredResult]:
    for index, name in enumerate(path):
        if isinstance(value, Stored):
            if name not in value.entries():
                break
            value = value.get(name)
        elif isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, list):
            for one in value:
                yield from _asked_for(one, path[index:])
            return
        else:
            return
    yield from _inside(value)


def _inside(value: Json, levels: int = 3) -> Iterator[StoredResult]:
    if isinstance(value, StoredResult):
        yield value
    elif levels and isinstance(value, list | dict):
        for one in value if isinstance(value, list) else value.values():
            yield from _inside(one, levels - 1)
