"""Find the step results that a command's templates and code can read.

A command that carries every result makes each step of a long chain dearer than the one before.
What stays out is only what provably nobody reads there: every doubt keeps everything.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Final

from noetl_contract.json import Json
from noetl_template import Stored

from noetl_engine.state.context import Walked

FEWEST_RESULTS: Final = 16
LONGEST_LIST: Final = 64
LONGEST_TEXT: Final = 16_384
"""Up to these sizes, of results and of the entries of each, a command simply carries all."""

ALIASES: Final = frozenset({"ctx", "steps"})
"""Names under which a command carries every result once more, if it reads them so."""
_LEVELS: Final = 2

# Kinds whose configuration is all they see; code of other kinds may look at everything.
_READ_BY_TEMPLATES_ONLY: Final = frozenset(
    {
        "artifact", "container", "duckdb", "ducklake", "http", "mcp", "nats", "noop", "playbook",
        "postgres", "result_fetch", "shell", "snowflake", "transfer",
    }
)  # fmt: skip
# The scope as a whole, or by a name that is computed: everything may be meant. On the worker
# `.result` of an object is the object itself, and Jinja's objects have methods.
_WHOLE_SCOPE: Final = re.compile(
    r"\b(?:debug|self|(?:ctx|steps)\b"
    r"(?!\s*\.\s*(?!(?:result|get|items|keys|values|copy)\b)[A-Za-z_]))"
)
# By these words a script reaches the variables that it was not given as arguments; the last two
# are parameters that the Python worker fills.
_REACHES_VARIABLES: Final = re.compile(
    r"\b(?:context|variables|globals|locals|vars|dir|eval|exec|compile|inspect|gc|builtins|"
    r"modules|stdin|_getframe|currentframe|tb_frame|gi_frame|cr_frame|walk_stack|f_globals|"
    r"f_locals|f_back|__\w+__|ctx|steps)\b"
)
# What tools look up without a template.
_PATHS: Final = ("messages_from",)


def needed_results(
    kind: str,
    context: Mapping[str, Json],
    results: Collection[str],
    *,
    own: Collection[str] = (),
    walked: Walked | None = None,
) -> set[str]:
    """Return the results that a command's templates and code may look up, and such ``ALIASES``.

    Args:
        kind: The tool's kind.
        context: The command's context as built: configuration, arguments, rules, and the scope
            under ``render_context``.
        results: Names of steps with a result.
        own: Names in the scope that are this command's alone.
        walked: What is known of the other values: they are large, and the next command has the
            same ones.
    """
    everything = {*results, *ALIASES}
    scope = context["render_context"]
    walked = Walked() if walked is None else walked
    if len(results) <= FEWEST_RESULTS:
        for name in results:
            if _is_known_long(scope.get(name), walked):
                break
        else:
            return everything
    parts = {key: value for key, value in context.items() if key != "render_context"}
    tools = list(_tools(kind, parts["tool_config"]))
    if not all(_is_read_by_templates_only(*tool) for tool in tools):
        return everything
    if kind == "task_sequence" and not isinstance(parts["tool_config"], list):
        return everything
    texts = list(templates_of(parts))
    needed = _mentioned([*texts, *_paths(tools)], everything)
    # The Python worker fills parameters of `main` with variables of their names.
    needed |= _named([config["code"] for tool, config in tools if tool == "python"], everything)
    # Texts with template syntax that come in as values are rendered in their turn.
    rest = (key for key in scope if key not in {"ctx", "steps"})
    for key in rest:
        if key in results and key not in needed:
            continue
        if _holds_template(scope[key], Walked() if key in own else walked):
            return everything
    return needed


def _holds_template(value: Json, walked: Walked) -> bool:
    known = walked.templates.get(id(value))
    if known is not None and known[0] is value:
        return known[1]
    found = next(templates_of(value), None) is not None
    if isinstance(value, dict | list):
        walked.templates[id(value)] = (value, found)
    return found


def _is_known_long(result: Json, walked: Walked) -> bool:
    known = walked.sizes.get(id(result))
    if known is not None and known[0] is result:
        return known[1]
    found = _is_long(result)
    if isinstance(result, dict | list):
        walked.sizes[id(result)] = (result, found)
    return found


def _is_long(result: Json, levels: int = _LEVELS) -> bool:
    """Return whether a result is worth a search: it, or a value not far inside, is large."""
    if isinstance(result, str):
        return len(result) > LONGEST_TEXT
    if not isinstance(result, list | dict) or isinstance(result, Stored):
        return False
    if len(result) > LONGEST_LIST:
        return True
    inner = result if isinstance(result, list) else result.values()
    return levels > 0 and any(_is_long(value, levels - 1) for value in inner)


def _tools(kind: str, config: Json) -> Iterator[tuple[str, Json]]:
    """Yield the tools that run: one, or those of a pipeline, whose items may be pipelines again."""
    if kind != "task_sequence":
        yield kind, config
        return
    items = config if isinstance(config, list) else (config or {}).get("tool_config")
    for item in items if isinstance(items, list) else [{"": None}]:
        for spec in item.values() if isinstance(item, dict) else [None]:
            spec_kind = spec.get("kind") if isinstance(spec, dict) else None
            yield from _tools(str(spec_kind), spec)


def _is_read_by_templates_only(kind: str, config: Json) -> bool:
    if kind in _READ_BY_TEMPLATES_ONLY:
        return True
    if kind != "python" or not isinstance(config, dict):
        return False
    code = config.get("code")
    return isinstance(code, str) and not _reaches_variables(code)


@lru_cache(maxsize=512)
def _reaches_variables(code: str) -> bool:
    return _REACHES_VARIABLES.search(code) is not None


def _paths(tools: list[tuple[str, Json]]) -> Iterator[str]:
    for _, config in tools:
        for key in _PATHS:
            path = config.get(key) if isinstance(config, dict) else None
            if isinstance(path, str):
                yield path


def _mentioned(texts: list[str], names: set[str]) -> set[str]:
    if any(_WHOLE_SCOPE.search(text) for text in texts):
        return names
    return _named(texts, names)


def _named(texts: list[str], names: set[str]) -> set[str]:
    # A name within another word counts too: better one too many.
    return {name for name in names if any(name in text for text in texts)}


def templates_of(value: Json) -> Iterator[str]:
    """Yield the texts with template syntax anywhere in a value, keys included."""
    if isinstance(value, str):
        if "{{" in value or "{%" in value:
            yield value
    elif isinstance(value, Mapping):
        for key, inner in dict.items(value) if isinstance(value, dict) else value.items():
            yield from templates_of(key)
            yield from templates_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from templates_of(inner)
