"""Rendering of strings, values and conditions by the rules of the server or the worker."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from noetl_template.compiled import CompiledTemplate, Compiler, PathTemplate, TextTemplate, failed
from noetl_template.errors import (
    EvaluationError,
    SecretMissing,
    TemplateError,
    TemplateLimitError,
    ValueNotAtHand,
)
from noetl_template.limits import Budget, Limits
from noetl_template.retype import server_text, server_value, worker_text, worker_value
from noetl_template.stored import with_fetched
from noetl_template.syntax.literals import (
    has_worker_syntax,
    holds_template,
    literal,
    settled,
    unmarked,
    whole_literal,
)
from noetl_template.values import MAX_NESTING, SERVER, WORKER, Json, Value

type Scope = Mapping[str, Value]

_FALSE_WORDS: Final = frozenset({"", "false", "0", "no", "none", "null", "off", "{}", "[]"})
_FALSE_RULE_WORDS: Final = frozenset({"", "false", "False", "0", "none", "None", "null"})
_WORK_PER_TEMPLATE: Final = 100
_MAX_ENTRIES: Final = 4096
_MAX_CHARS: Final = 16 * 1024 * 1024


class Renderer:
    """Renders templates within limits, and caches compiled templates. It is thread-safe."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        max_entries: int = _MAX_ENTRIES,
        max_chars: int = _MAX_CHARS,
    ) -> None:
        """Build a renderer.

        Args:
            limits: Limits of one render.
            max_entries: Maximum number of compiled templates in the cache of a dialect.
            max_chars: Maximum length of their sources together.
        """
        self._limits = limits or Limits()
        self._server, self._worker = (
            Compiler(dialect, self._limits, max_entries=max_entries, max_chars=max_chars)
            for dialect in (SERVER, WORKER)
        )

    def use_limits(self, limits: Limits) -> None:
        """Use other limits from now on."""
        self._limits = self._server.limits = self._worker.limits = limits

    def render_server(self, value: Json, scope: Scope) -> Json:
        """Render every string in ``value``, including keys, and type the results.

        Strings without template syntax are typed too: ``"7"`` becomes 7. The result may share lists
        and maps with ``scope``, which are not changed. All templates in ``value`` share the work of
        one render.

        Raises:
            TemplateError: A template is invalid, fails, or reaches a limit.
        """
        budget = Budget(self._limits)
        try:
            return self._walk(value, scope, budget, self._server_string, self._server_key)
        finally:
            budget.settle()

    def render_config(
        self,
        value: Json,
        scope: Scope,
        *,
        renders: int = 1,
        own: frozenset[str] = frozenset(),
        left: frozenset[str] = frozenset(),
    ) -> Json:
        """Render a value like :meth:`render_server`, for a worker that renders it again.

        Inserted data is escaped, so that rendering by the worker restores the data even if it looks
        like a template. Text of the playbook itself is not escaped.

        Args:
            value: The value.
            scope: The names.
            renders: The number of times that the worker renders the value.
            own: Templates in ``scope`` that are values of the playbook, from :func:`templates_in`;
                the worker renders them.
            left: Texts in ``value`` that only the worker renders.

        Raises:
            TemplateError: A template is invalid, fails, or reaches a limit.
        """

        def string(text: str, scope: Scope, budget: Budget) -> Json:
            if text in left:
                return text
            if not has_server_syntax(text):
                return server_text(text)
            return self._kept(text, scope, budget, self._server, own=own, renders=renders)

        budget = Budget(self._limits)
        try:
            return self._walk(value, scope, budget, string, self._server_key)
        finally:
            budget.settle()

    def render_worker(self, value: Json, scope: Scope) -> Json:
        """Render every template in ``value``, except in keys, and type the results.

        Raises:
            TemplateError: A template is invalid, fails, or reaches a limit.
        """
        budget = Budget(self._limits)
        try:
            return self._walk(value, scope, budget, self._worker_string, None)
        finally:
            budget.settle()

    def render_task(self, value: Json, scope: Scope, *, own: frozenset[str] = frozenset()) -> Json:
        """Render a value twice like :meth:`render_worker`, as tasks of pipelines require.

        As in :meth:`render_config`, the first rendering escapes data for the second.

        Raises:
            TemplateError: A template is invalid, fails, or reaches a limit.
        """

        def string(text: str, scope: Scope, budget: Budget) -> Json:
            known = whole_literal(text)
            if known is not None or not has_worker_syntax(text):
                return text if known is None else known
            return self._kept(text, scope, budget, self._worker, own=own)

        budget = Budget(self._limits)
        try:
            once = self._walk(value, scope, budget, string, None)
        finally:
            budget.settle()
        return self.render_worker(once, scope) if holds_template(once) else once

    def render_expression(self, text: str, scope: Scope) -> Json:
        """Render one string by the server's rules, such as ``in`` of a loop, to a value.

        Text without template syntax is data, not an expression.

        Raises:
            TemplateError: The template is invalid, fails, or reaches a limit.
        """
        budget = Budget(self._limits)
        try:
            return _whole(self._server_string, text, scope, budget)
        finally:
            budget.settle()

    def named_value(self, text: str, scope: Scope) -> Value:
        """Return the value that a string names by the server's rules, or None if it is no path."""
        compiled = self._server.compile(text) if has_server_syntax(text) else None
        if not isinstance(compiled, PathTemplate):
            return None
        return compiled.value(scope, Budget(self._limits))

    def evaluate_condition(self, expression: str, scope: Scope) -> bool:
        """Return whether a guard holds; text without template syntax is an expression.

        Raises:
            TemplateError: The guard is invalid, fails, or reaches a limit.
        """
        return _is_true(self.server_text(_condition(expression), scope))

    def evaluate_worker_condition(self, condition: Json, scope: Scope) -> bool:
        """Return whether a condition that the worker renders is true, by the rules of guards.

        Text without template syntax is an expression, as in a guard. Any other value is converted
        to text.

        Raises:
            TemplateError: The condition is invalid, fails, or reaches a limit.
        """
        if not isinstance(condition, str):
            return _is_true(str(condition))
        return _is_true(self.worker_text(_condition(condition), scope))

    def evaluate_rule(self, condition: str | bool | None, scope: Scope) -> bool:  # noqa: FBT001 - a JSON value
        """Return whether ``when`` of a worker's policy rule holds.

        Text without template syntax is text, not an expression, and true unless it is one of the
        false words. A condition that fails is false.

        Raises:
            TemplateLimitError: The condition reaches a limit.
            SecretMissing: The condition names a secret; conditions have no secrets.
        """
        if not isinstance(condition, str):
            return condition is True
        try:
            text = self.worker_text(condition, scope)
        except (TemplateLimitError, SecretMissing, ValueNotAtHand):
            raise
        except TemplateError:
            return False
        return text.strip() not in _FALSE_RULE_WORDS

    def server_text(self, text: str, scope: Scope) -> str:
        """Render a string to text by the server's rules, without typing it.

        Raises:
            TemplateError: The template is invalid, fails, or reaches a limit.
        """
        return self._text(text, scope, self._server) if has_server_syntax(text) else text

    def worker_text(self, text: str, scope: Scope) -> str:
        """Render a string to text by the worker's rules, without typing it.

        Raises:
            TemplateError: The template is invalid, fails, or reaches a limit.
        """
        return self._text(text, scope, self._worker) if has_worker_syntax(text) else text

    def compile_templates(self, value: Json) -> None:
        """Compile the server's templates in a value, so that the cache has them when rendering.

        Compilation is the slow part of a large template. Invalid templates are skipped, because
        rendering reports them. This may run in another thread than the rendering.
        """
        for text in _templates(value):
            with suppress(TemplateError):
                self._server.compile(text)

    def compile_conditions(self, expression: str) -> None:
        """Compile a guard like :meth:`compile_templates`."""
        self.compile_templates(_condition(expression))

    def _kept(
        self,
        text: str,
        scope: Scope,
        budget: Budget,
        compiler: Compiler,
        *,
        own: frozenset[str],
        renders: int = 1,
    ) -> Json:
        """Render a template, and escape the data in the result for later renderings."""
        is_server = compiler is self._server
        compiled = compiler.compile(text)
        if isinstance(compiled, TextTemplate):
            _paid(compiled, budget)
            rendered = settled(compiled.text(scope, budget, unmarked=own))
            typed = server_text(rendered) if is_server else worker_text(rendered)
            return unmarked(typed, renders=renders)
        string = self._server_string if is_server else self._worker_string
        found = string(text, scope, budget)
        return literal(found, renders=renders, own=own) if compiled.is_data else found

    def _server_string(self, text: str, scope: Scope, budget: Budget) -> Json:
        if not has_server_syntax(text):
            return server_text(text)
        compiled = _paid(self._server.compile(text), budget)
        if isinstance(compiled, TextTemplate):
            return server_text(compiled.text(scope, budget))
        value = compiled.value(scope, budget)
        return _typed(text, lambda: server_value(value, compiled.prefix, compiled.suffix, budget))

    def _worker_string(self, text: str, scope: Scope, budget: Budget) -> Json:
        if not has_worker_syntax(text):
            return text
        known = whole_literal(text)
        if known is not None:
            return known
        compiled = _paid(self._worker.compile(text), budget)
        if isinstance(compiled, TextTemplate):
            return worker_text(compiled.text(scope, budget))
        value = compiled.value(scope, budget)
        return _typed(text, lambda: worker_value(value, budget))

    def _server_key(self, text: str, scope: Scope, budget: Budget) -> str:
        return self._print(text, scope, self._server, budget) if has_server_syntax(text) else text

    def _text(self, text: str, scope: Scope, compiler: Compiler) -> str:
        def printed(text: str, scope: Scope, budget: Budget) -> str:
            return self._print(text, scope, compiler, budget)

        budget = Budget(self._limits)
        try:
            return _whole(printed, text, scope, budget)
        finally:
            budget.settle()

    def _print(self, text: str, scope: Scope, compiler: Compiler, budget: Budget) -> str:
        compiled = _paid(compiler.compile(text), budget)
        if isinstance(compiled, TextTemplate):
            return compiled.text(scope, budget)
        value = compiled.value(scope, budget)
        dialect = compiled.environment.dialect
        printed: str = _typed(text, lambda: dialect.text(value, budget))
        return compiled.prefix + printed + compiled.suffix

    def _walk(  # noqa: PLR0917 - private, called for each value
        self,
        value: Json,
        scope: Scope,
        budget: Budget,
        string: Callable[[str, Scope, Budget], Json],
        key: Callable[[str, Scope, Budget], str] | None,
        depth: int = 0,
    ) -> Json:
        match value:
            case str():
                return _whole(string, value, scope, budget)
            case dict():
                if depth > MAX_NESTING:
                    raise TemplateError("value is nested too deeply", template="")
                return {
                    (_whole(key, name, scope, budget) if key else name): self._walk(
                        entry, scope, budget, string, key, depth + 1
                    )
                    for name, entry in value.items()
                }
            case list():
                if depth > MAX_NESTING:
                    raise TemplateError("value is nested too deeply", template="")
                return [self._walk(entry, scope, budget, string, key, depth + 1) for entry in value]
            case _:
                return value


def _is_true(text: str) -> bool:
    return text.strip().lower() not in _FALSE_WORDS


def _whole[T](
    work: Callable[[str, Scope, Budget], T], text: str, scope: Scope, budget: Budget
) -> T:
    """Render a text; if it needs more than the placeholders of fetched values, use the values.

    The placeholders come first, because a placeholder has fields that its value lacks.
    """
    try:
        return work(text, scope, budget)
    except ValueNotAtHand as error:
        if not error.stored.is_fetched:
            raise
    return work(text, with_fetched(scope), budget)


def _condition(expression: str) -> str:
    return expression if has_server_syntax(expression) else "{{ " + expression + " }}"


def _templates(value: Json) -> Iterator[str]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text if has_server_syntax(text):
                yield text
            case dict() as entries:
                waiting.extend(entries)
                waiting.extend(entries.values())
            case list() as elements:
                waiting.extend(elements)


def has_server_syntax(text: str) -> bool:
    """Return whether a string is a template by the server's rules."""
    return ("{{" in text and "}}" in text) or ("{%" in text and "%}" in text)


def _paid(compiled: CompiledTemplate, budget: Budget) -> CompiledTemplate:
    """Pay for a template itself; the price is the same whether or not it was cached."""
    if not isinstance(compiled, PathTemplate):
        budget.work_left -= _WORK_PER_TEMPLATE + len(compiled.source)
    return compiled


def _typed[T](source: str, convert: Callable[[], T]) -> T:
    try:
        return convert()
    except (EvaluationError, RecursionError) as error:
        raise failed(source, error) from error


_DEFAULT: Final = Renderer()
render_server = _DEFAULT.render_server
render_worker = _DEFAULT.render_worker
render_config = _DEFAULT.render_config
render_task = _DEFAULT.render_task
render_expression = _DEFAULT.render_expression
named_value = _DEFAULT.named_value
evaluate_condition = _DEFAULT.evaluate_condition
evaluate_worker_condition = _DEFAULT.evaluate_worker_condition
evaluate_rule = _DEFAULT.evaluate_rule
compile_templates = _DEFAULT.compile_templates
compile_conditions = _DEFAULT.compile_conditions
use_limits = _DEFAULT.use_limits
