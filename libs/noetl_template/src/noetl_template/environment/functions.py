"""The functions templates may call: ``range``, ``dict`` and ``namespace``."""

from collections.abc import Mapping
from typing import Any, Final

from jinja2.utils import Namespace

from noetl_template.environment.context import RenderContext, TemplateFunction
from noetl_template.errors import EvaluationError


def _range(context: RenderContext, start: Any, stop: Any = None, step: Any = 1) -> list[int]:
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
    context.budget.spend(len(numbers))
    return list(numbers)


def _dict(_context: RenderContext, value: Any = None, /, **entries: Any) -> dict[str, Any]:
    if not value and not isinstance(value, bool | int | float | str | list):
        value = {}
    if not isinstance(value, Mapping):
        raise EvaluationError("invalid operation")
    return {**value, **entries}


def _namespace(context: RenderContext, value: Any = None, /, **entries: Any) -> Namespace:
    return Namespace(_dict(context, value, **entries))


FUNCTIONS: Final[dict[str, TemplateFunction]] = {
    "range": TemplateFunction("range", _range),
    "dict": TemplateFunction("dict", _dict),
    "namespace": TemplateFunction("namespace", _namespace),
}
