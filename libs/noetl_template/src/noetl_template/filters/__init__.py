"""The filters of both dialects.

Each filter is a function of the render context, the value and the arguments. Both dialects have the
built-in filters of the reference server, and each overrides some.
"""

from functools import wraps
from typing import Final

from jinja2 import pass_context
from jinja2.utils import missing

from noetl_template.containers import listed, mapped
from noetl_template.context import Operation, Registry, RenderContext
from noetl_template.errors import EvaluationError
from noetl_template.filters import (
    defaults,
    encoding,
    mappings,
    numbers,
    selection,
    sequences,
    text,
)
from noetl_template.syntax.prepare import ITERATE, LOOKUP, OWN, PAY
from noetl_template.values import SERVER, Dialect, Value, size_of

_BUILT_IN: Final[dict[str, Operation]] = {
    "abs": numbers.absolute,
    "attr": mappings.attribute,
    "batch": sequences.batch,
    "bool": numbers.boolean,
    "capitalize": text.of_text(text.capitalize),
    "chain": sequences.chain,
    "count": defaults.count,
    "d": defaults.builtin_default,
    "dictsort": mappings.dict_sort,
    "e": text.escape,
    "escape": text.escape,
    "format": text.format_text,
    "groupby": sequences.group_by,
    "indent": text.indent,
    "items": mappings.items,
    "lines": text.lines,
    "list": sequences.as_list,
    "lower": text.of_text(str.lower),
    "map": selection.map_elements,
    "max": sequences.extreme(max),
    "min": sequences.extreme(min),
    "pprint": text.pprint,
    "reject": selection.reject,
    "rejectattr": selection.reject_by,
    "replace": text.replace,
    "reverse": sequences.reverse,
    "round": numbers.rounded,
    "safe": text.safe,
    "select": selection.select,
    "selectattr": selection.select_by,
    "slice": sequences.slices,
    "sort": sequences.sort,
    "split": text.split,
    "string": text.of_text(str),
    "sum": numbers.total,
    "title": text.title,
    "trim": text.of_text(str.strip),
    "unique": sequences.unique,
    "upper": text.of_text(str.upper),
    "zip": sequences.zipped,
    "b64encode": encoding.encode_base64,
    "b64decode": encoding.decode_base64,
    "default": defaults.default,
}
_SERVER: Final[dict[str, Operation]] = {
    "first": defaults.strict_end(0),
    "float": numbers.strict_float,
    "fromjson": encoding.strict_from_json,
    "get": mappings.get,
    "int": numbers.strict_int,
    "join": text.join,
    "keys": mappings.keys,
    "last": defaults.strict_end(-1),
    "length": defaults.strict_length,
    "tojson": encoding.textual_json,
    "values": mappings.values,
}
_WORKER: Final[dict[str, Operation]] = {
    "d": defaults.default,
    "first": defaults.lenient_end(0),
    "float": numbers.lenient_float,
    "fromjson": encoding.lenient_from_json,
    "int": numbers.lenient_int,
    "join": defaults.lenient_join,
    "last": defaults.lenient_end(-1),
    "len": defaults.lenient_length,
    "length": defaults.lenient_length,
    "tojson": encoding.exact_json,
}


def filters_of(dialect: Dialect) -> dict[str, Operation]:
    """Return the filters by name."""
    own = _SERVER if dialect is SERVER else _WORKER
    named = {name: _accounted(function) for name, function in {**_BUILT_IN, **own}.items()}
    private: dict[str, Operation] = {
        ITERATE: _iterate, LOOKUP: _lookup, PAY: _pay, OWN: _own,
    }  # fmt: skip
    return Registry({**named, **{name: pass_context(run) for name, run in private.items()}})


def _accounted(function: Operation) -> Operation:
    """Charge input and output of a filter; report wrong arguments like the reference server."""

    @pass_context
    @wraps(function)
    def run(context: RenderContext, value: Value, *args: Value, **kwargs: Value) -> Value:
        context.budget.spend(size_of(value))
        try:
            result = function(context, value, *args, **kwargs)
        except TypeError as error:
            raise EvaluationError(_argument_problem(error)) from error
        size = size_of(result)
        context.budget.check_length(size)
        context.budget.spend(size)
        return result

    return run


def _argument_problem(error: TypeError) -> str:
    message = str(error)
    if "missing" in message and "argument" in message:
        return "missing argument"
    if "positional argument" in message:
        return "too many arguments"
    if "keyword argument" in message:
        return "unknown keyword argument"
    return f"invalid operation: {message}"


def _iterate(context: RenderContext, value: Value, weight: int) -> list[Value]:
    return context.iterate(value, weight)


def _lookup(context: RenderContext, name: str) -> Value:
    value = context.resolve_or_missing(name)
    return context.dialect.undefined if value is missing else value


def _pay(context: RenderContext, weight: int) -> None:
    context.budget.work_left -= weight
    context.budget.spend()


def _own(context: RenderContext, value: Value) -> Value:
    """Return the additional arguments of a macro as an ordinary list or map."""
    if isinstance(value, tuple):
        return listed(context.budget, list(value))
    return mapped(context.budget, value) if isinstance(value, dict) else value
