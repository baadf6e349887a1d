"""Payloads of starts at an end: templates in them are rendered, and no failure loses the start.

A text whose template fails is sent as it is written, and ``ended.payload_errors`` says why. So
does a payload that got too large: then all of it is sent as written.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import orjson
from noetl_contract.json import Json, JsonObject
from noetl_template import TemplateError, has_server_syntax, render_expression

from noetl_engine.state.memory import Memory
from noetl_engine.state.model import State

LARGEST_PAYLOAD_BYTES: Final = 64 << 10
MOST_WORK: Final = 20_000
"""For all payloads of one end, in the units of templates."""
_MOST_ERRORS: Final = 20
_LONGEST_ERROR: Final = 300
# Only these need values that may have to be read again.
_READ: Final = ("workload", "ctx")


def rendered_payload(
    payload: Mapping[str, Json], facts: JsonObject, values: Callable[[], Mapping[str, Json]]
) -> JsonObject:
    """Return a payload with its templates rendered, and the facts about the end under ``ended``.

    Args:
        payload: As written.
        facts: The facts about the end; their names may be used in templates too.
        values: Gives the workload and the variables of the execution that ended, by name.
    """
    written = dict(payload)
    if next(_templates(written), None) is None:
        return {**written, "ended": facts}
    errors: list[Json] = []
    scope = {**facts, "ended": facts, **values()}
    made = {
        key: _rendered(value, scope, f"payload.{key}", errors) for key, value in written.items()
    }
    size = len(orjson.dumps(made))
    if size > LARGEST_PAYLOAD_BYTES:
        made = written
        text = f"rendered it has {size} bytes, the limit is {LARGEST_PAYLOAD_BYTES}"
        errors = [{"key": "payload", "error": text}]
    if errors:
        facts = {**facts, "payload_errors": errors[:_MOST_ERRORS]}
    return {**made, "ended": facts}


def values_at_end(memory: Memory) -> dict[str, Json]:
    """Return the names whose values are rows of the log: ``workload`` and ``ctx``."""
    state, rows = memory.state, memory.values.rows
    workload = rows.get(state.workload)
    known = workload if isinstance(workload, dict) else {}
    variables: dict[str, Json] = {
        name: memory.contexts.variable(name)
        for name, (position, _) in state.variables.items()
        if position in rows
    }
    return {"workload": known, "ctx": {**known, **variables}}


def positions_at_end(state: State) -> set[int]:
    """Return the rows that :func:`values_at_end` reads."""
    return {state.workload, *(position for position, _ in state.variables.values())}


def reads_values(payload: Mapping[str, Json]) -> bool:
    """Return whether a template of a payload may name values that have to be read from the log."""
    return any(word in text for text in _templates(dict(payload)) for word in _READ)


def _rendered(value: Json, scope: Mapping[str, Json], path: str, errors: list[Json]) -> Json:
    match value:
        case str() if has_server_syntax(value):
            try:
                return render_expression(value, scope)
            except TemplateError as error:
                errors.append({"key": path[:_LONGEST_ERROR], "error": _brief(error)})
                return value
        case list():
            return [
                _rendered(item, scope, f"{path}[{index}]", errors)
                for index, item in enumerate(value)
            ]
        case dict():
            return {
                key: _rendered(item, scope, f"{path}.{key}", errors) for key, item in value.items()
            }
        case _:
            return value


def _brief(error: TemplateError) -> str:
    return str(error.problem)[:_LONGEST_ERROR]


def _templates(value: Json) -> Iterator[str]:
    match value:
        case str() if has_server_syntax(value):
            yield value
        case list():
            for item in value:
                yield from _templates(item)
        case dict():
            for item in value.values():
                yield from _templates(item)
        case _:
            pass
