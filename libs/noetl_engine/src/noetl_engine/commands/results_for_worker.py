"""Results of the result store in the variables of a command, where its own templates name them."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from noetl_contract.json import Json
from noetl_template import Stored, TemplateError, look_ups, with_fetched

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
    named: set[str] = set()
    for text in templates_of(parts):
        for path in _paths(text):
            head, *rest = path[1:] if path[0] in _ALIASES and path[1:] else path
            if head not in flat:
                continue
            for stored in _asked_for(flat[head], rest):
                if stored.ref not in stored.fetched:
                    raise question(stored)
                named.add(head)
    return {**flat, **with_fetched({name: flat[name] for name in named})} if named else flat


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
        return look_ups(text)
    except TemplateError:
        return frozenset()  # the worker says what is wrong with it


def _asked_for(value: Json, path: list[str]) -> Iterator[StoredResult]:
    for index, name in enumerate(path):
        if isinstance(value, Stored):
            if not value.is_at_hand(name):
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
