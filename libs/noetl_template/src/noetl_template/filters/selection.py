"""Filters that apply other filters or tests to each element."""

from noetl_template.containers import listed
from noetl_template.context import RenderContext
from noetl_template.errors import EvaluationError
from noetl_template.filters.sequences import lookup_strictly
from noetl_template.values import Value


def map_elements(
    context: RenderContext, value: Value, *args: Value, **kwargs: Value
) -> list[Value]:
    elements = context.dialect.elements(value, context.budget)
    if "attribute" in kwargs:
        found = [lookup_strictly(context, element, kwargs["attribute"]) for element in elements]
        if "default" in kwargs:
            absent = context.dialect.undefined
            found = [kwargs["default"] if entry is absent else entry for entry in found]
        return listed(context.budget, found)
    if not args:
        raise EvaluationError("missing argument")
    name, *rest = args
    if name not in context.environment.filters:
        raise EvaluationError(f"unknown filter: filter {name} is unknown")
    function = context.environment.filters[name]
    mapped = [function(context, element, *rest, **kwargs) for element in elements]
    return listed(context.budget, mapped)


def select(context: RenderContext, value: Value, *args: Value) -> list[Value]:
    return _chosen(context, value, None, args, wanted=True)


def reject(context: RenderContext, value: Value, *args: Value) -> list[Value]:
    return _chosen(context, value, None, args, wanted=False)


def select_by(context: RenderContext, value: Value, attribute: Value, *args: Value) -> list[Value]:
    return _chosen(context, value, attribute, args, wanted=True)


def reject_by(context: RenderContext, value: Value, attribute: Value, *args: Value) -> list[Value]:
    return _chosen(context, value, attribute, args, wanted=False)


def _chosen(
    context: RenderContext, value: Value, attribute: Value, args: tuple[Value, ...], *, wanted: bool
) -> list[Value]:
    test: Value = None
    if args:
        if args[0] not in context.environment.tests:
            raise EvaluationError(f"unknown test: test {args[0]} is unknown")
        test = context.environment.tests[args[0]]
    kept = []
    for element in context.dialect.elements(value, context.budget):
        context.budget.spend()
        subject = element if attribute is None else lookup_strictly(context, element, attribute)
        holds = bool(subject) if test is None else bool(test(context, subject, *args[1:]))
        if holds is wanted:
            kept.append(element)
    return listed(context.budget, kept)
