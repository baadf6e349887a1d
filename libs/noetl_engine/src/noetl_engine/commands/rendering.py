"""Render templates for decisions; a failure is an evaluate error, or null in a `set` (R14)."""

from collections.abc import Mapping

from noetl_contract.json import Json
from noetl_template import (
    TemplateError,
    evaluate_condition,
    render_expression,
    render_server,
)

from noetl_engine.errors import EvaluateError
from noetl_engine.playbook.model import AdmitRule, Step
from noetl_engine.state.results import bare_name

type Scope = Mapping[str, Json]


def render(value: Json, scope: Scope) -> Json:
    """Render a configuration value, all strings and keys in it.

    Raises:
        EvaluateError: A template fails.
    """
    try:
        return render_server(value, scope)
    except TemplateError as error:
        raise EvaluateError(str(error)) from error


def render_collection(text: str, scope: Scope) -> Json:
    """Render a loop's ``in`` or ``max_in_flight``.

    Raises:
        EvaluateError: The template fails.
    """
    try:
        return render_expression(text, scope)
    except TemplateError as error:
        raise EvaluateError(str(error)) from error


def condition_holds(guard: str, scope: Scope) -> bool:
    """Return whether a guard holds.

    Raises:
        EvaluateError: It can't be evaluated.
    """
    try:
        return evaluate_condition(guard, scope)
    except TemplateError as error:
        raise EvaluateError(str(error)) from error


def admits(step: Step, scope: Scope) -> bool:
    """Return whether a step's guards let it run: ``when``, and the admission rules beside it.

    Raises:
        EvaluateError: A guard can't be evaluated.
    """
    if step.when is not None and not condition_holds(step.when, scope):
        return False
    return _decided_by(step.admit, scope)


def _decided_by(rules: tuple[AdmitRule, ...], scope: Scope) -> bool:
    for rule in rules:
        if rule.when is None or condition_holds(rule.when, scope):
            return rule.allow
    return True


def render_set(block: Mapping[str, Json], scope: Scope) -> tuple[dict[str, Json], list[str]]:
    """Render a ``set`` block: values by bare name, and the keys whose template failed.

    Keys are taken in sorted order (R12). A failing value becomes null (R14). Only strings are
    templates here; other values are stored as they are.
    """
    values: dict[str, Json] = {}
    failed: list[str] = []
    for key in sorted(block):
        value = block[key]
        name = bare_name(key)
        if isinstance(value, str):
            try:
                values[name] = render_expression(value, scope)
            except TemplateError:
                values[name] = None
                failed.append(key)
        else:
            values[name] = value
    return values, failed
