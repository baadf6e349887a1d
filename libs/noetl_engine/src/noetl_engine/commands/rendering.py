"""Render templates for decisions; a failure is an evaluate error, or null in a `set` (R14)."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

from noetl_contract.json import Json
from noetl_template import (
    Limits,
    SecretMissing,
    TemplateError,
    TemplateLimitError,
    ValueNotAtHand,
    compile_conditions,
    compile_templates,
    evaluate_condition,
    literal,
    named_value,
    render_config,
    render_expression,
    render_server,
    use_limits,
)

from noetl_engine.errors import EvaluateError
from noetl_engine.outputs import NeedResults
from noetl_engine.playbook.model import Playbook, Step
from noetl_engine.renders import rendered
from noetl_engine.state.results import StoredResult, bare_name

# Fields of a playbook's records whose text is an expression, with template syntax or without.
_GUARDS = frozenset({"when"})

type Scope = Mapping[str, Json]


def _evaluating[V, R](work: Callable[[V, Scope], R]) -> Callable[[V, Scope], R]:
    """Return the same work, with an evaluate error in place of a template's.

    Where the template needs a result of the result store, `NeedResults` is in place of it.
    """

    def evaluate(value: V, scope: Scope) -> R:
        try:
            return rendered(value, lambda: work(value, scope))
        except ValueNotAtHand as error:
            raise question(error.stored, is_whole=error.is_whole) from error
        except TemplateError as error:
            raise EvaluateError(str(error)) from error

    return evaluate


def question(stored: StoredResult, *, is_whole: bool) -> EvaluateError | NeedResults:
    """Return the question for a stored result or its part, or why there is no answer to it."""
    why = stored.withheld
    if why is None:
        return NeedResults(stored.wanted(is_whole=is_whole))
    return EvaluateError(
        f"{stored.name} is kept in the result store and can't be had here: {why}. A template that "
        "names a smaller part reads that alone, and tasks behind a 'result_fetch' in the same "
        "pipeline work on all of it"
    )


def _collection(text: str, scope: Scope) -> Json:
    """Return the list that a loop goes over.

    Of another loop's result the elements alone are wanted, not what is stored of each.
    """
    try:
        return render_expression(text, scope)
    except ValueNotAtHand:
        value: Json = named_value(text, scope)
        if isinstance(value, list):
            return value
        raise


render: Callable[[Json, Scope], Json] = _evaluating(render_server)
"""Render a configuration value, all strings and keys in it, or raise `EvaluateError`."""
render_collection: Callable[[str, Scope], Json] = _evaluating(_collection)
"""Render a loop's ``in`` or ``max_in_flight``, or raise `EvaluateError`."""
condition_holds = _evaluating(evaluate_condition)
"""Return whether a guard holds, or raise `EvaluateError`."""


def render_for_worker(
    value: Json,
    scope: Scope,
    *,
    own: frozenset[str],
    renders: int = 1,
    left: frozenset[str] = frozenset(),
) -> Json:
    """Render values that a worker renders once more, or twice as a pipeline's tasks.

    Data in it arrives as it is; ``own`` are the templates that the playbook keeps as values, and
    ``left`` the texts that only the worker can render.

    Raises:
        EvaluateError: A template fails.
    """
    return _evaluating(partial(render_config, own=own, renders=renders, left=left))(value, scope)


def render_count(name: str, written: int | str, scope: Scope) -> int:
    """Return a number of a loop, which may be written as a template.

    Raises:
        EvaluateError: The template fails or gives no integer of at least 1.
    """
    count: Json = render_collection(written, scope) if isinstance(written, str) else written
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise EvaluateError(f"{name} is not an integer of at least 1: {written}")
    return count


def admits(step: Step, scope: Scope) -> bool:
    """Return whether a step's guards let it run: ``when``, and the admission rules beside it.

    Raises:
        EvaluateError: A guard can't be evaluated.
    """
    if step.when is not None and not condition_holds(step.when, scope):
        return False
    for rule in step.admit:
        if rule.when is None or condition_holds(rule.when, scope):
            return rule.allow
    return True


def render_set(block: Mapping[str, Json], scope: Scope) -> tuple[dict[str, Json], list[str]]:
    """Render a ``set`` block: values by bare name, and the keys whose template failed.

    Keys are taken in sorted order (R12). A failing value becomes null (R14). Only strings are
    templates here; other values are stored as they are.

    Raises:
        EvaluateError: A template reaches a limit, so it isn't known what it would give, or it
            names a secret, and no variable may hold one.
    """
    values: dict[str, Json] = {}
    failed: list[str] = []
    for key in sorted(block):
        value = block[key]
        name = bare_name(key)
        if isinstance(value, str):
            try:
                values[name] = rendered(value, partial(render_expression, value, scope))
            except ValueNotAtHand as error:
                raise question(error.stored, is_whole=error.is_whole) from error
            except (TemplateLimitError, SecretMissing) as error:
                raise EvaluateError(str(error)) from error
            except TemplateError:
                values[name] = None
                failed.append(key)
        else:
            values[name] = value
    return values, failed


def use_template_limits(*, max_source_chars: int) -> None:
    """Compile no template whose code is longer, from now on."""
    use_limits(Limits(max_source_chars=max_source_chars))


def compile_playbook(playbook: Playbook) -> None:
    """Compile the templates of a playbook, so that decisions find them compiled.

    It takes a second for each 64 KiB of them, so it is work for a thread.
    """
    waiting: list[Any] = [playbook]
    while waiting:
        record = waiting.pop()
        if not is_dataclass(record):
            compile_templates(record)
            continue
        for each in fields(record):
            value = getattr(record, each.name)
            if isinstance(value, tuple):
                waiting.extend(value)
            elif isinstance(value, Mapping):
                waiting.extend([dict(value), *filter(is_dataclass, value.values())])
            elif isinstance(value, str) and each.name in _GUARDS:
                compile_conditions(value)
            else:
                waiting.append(value)


def data_for_worker(values: Mapping[str, Json], *, own: frozenset[str]) -> dict[str, Json]:
    """Return data by name for a configuration that a worker renders once more."""
    return {name: literal(value, own=own) for name, value in values.items()}
