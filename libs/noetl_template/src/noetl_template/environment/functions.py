"""The functions templates may call: ``range``, ``dict`` and ``namespace``."""

from collections.abc import Mapping
from typing import Final

from jinja2.utils import Namespace

from noetl_template.containers import listed, mapped
from noetl_template.context import RenderContext, TemplateFunction
from noetl_template.errors import EvaluationError
from noetl_template.values import Value


def _range(
    context: RenderContext, start: Value, stop: Value = None, step: Value = 1
) -> list[Value]:
    if stop is context.dialect.undefined or stop is None:
        start, stop = 0, start
    if not all(isinstance(bound, int) for bound in (start, stop, step)):
        raise EvaluationError("invalid operation: range needs integers")
    if step == 0:
        raise EvaluationError("invalid operation: cannot create range with step of 0")
    numbers = range(start, stop, step)
    # Subtraction, not len(): len() of a huge range overflows.
    if abs(stop - start) // abs(step) >= context.budget.limits.max_range and numbers:
        raise EvaluationError("invalid operation: range has too many elements")
    return listed(context.budget, list(numbers))


def _dict(context: RenderContext, value: Value = None, /, **entries: Value) -> dict[Value, Value]:
    if not value and not isinstance(value, bool | int | float | str | list):
        value = {}
    if not isinstance(value, Mapping):
        raise EvaluationError("invalid operation")
    return mapped(context.budget, {**value, **entries})


def _namespace(context: RenderContext, value: Value = None, /, **entries: Value) -> Namespace:
    return Namespace(_dict(context, value, **entries))


FUNCTIONS: Final[dict[str, TemplateFunction]] = {
    "range": TemplateFunction(_range),
    "dict": TemplateFunction(_dict),
    "namespace": TemplateFunction(_namespace),
}
