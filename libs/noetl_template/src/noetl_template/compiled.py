"""Compiled templates, and their bounded cache."""

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import jinja2
from jinja2 import nodes

from noetl_template.context import RenderContext
from noetl_template.environment.environment import TemplateEnvironment
from noetl_template.errors import (
    EvaluationError,
    LimitReached,
    NoSecret,
    NotAtHand,
    SecretMissing,
    TemplateError,
    TemplateLimitError,
    ValueNotAtHand,
)
from noetl_template.limits import Budget, Limits
from noetl_template.syntax.lookups import lookups_in, names_made_in, with_guards
from noetl_template.syntax.prepare import prepare, single_expression
from noetl_template.values import KEYCHAIN, Dialect, Value

# Errors that a template may raise while it is compiled or rendered. RecursionError is a
# RuntimeError. Python's compiler raises SyntaxError for nesting that is too deep.
_FAILURES: Final = (
    EvaluationError,
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    NameError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
# `{{ a.b.c }}`, by far the most common template, is evaluated without Jinja.
_PATH: Final = re.compile(r"\{\{\s*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*\}\}", re.ASCII)
_NOT_A_NAME: Final = frozenset(
    {"true", "false", "none", "True", "False", "None", "not", "if", "else", "and", "or", "in",
     "is", "self", "range", "dict", "namespace", "loop"}
)  # fmt: skip


_NO_CODE: Final = frozenset({"data", "comment", "whitespace", "raw_begin", "raw_end", "string"})


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A template that only names a value."""

    source: str
    path: tuple[str, ...]
    environment: TemplateEnvironment
    prefix: str = ""
    suffix: str = ""
    is_data: bool = True

    def value(self, scope: Mapping[str, Value], _budget: Budget) -> Value:
        """Return the named value, or undefined if any part of the path is undefined.

        Raises:
            SecretMissing: The value is a secret that doesn't exist.
        """
        getitem = self.environment.getitem
        dialect = self.environment.dialect
        head, *rest = self.path
        try:
            value = dialect.incoming(scope[head])
        except KeyError:
            if head == KEYCHAIN:
                raise failed(self.source, _no_secret(self.path)) from None
            return dialect.undefined
        done = 0
        try:
            for name in rest:
                if dialect.proxies_result and name == "result" and isinstance(value, Mapping):
                    value = value.get("result", value)
                else:
                    value = getitem(value, name)
                done += 1
        except NoSecret as error:
            raise failed(self.source, error) from error
        except NotAtHand as error:
            # The rest of the path names all that is needed: no level of it has to be looked at.
            stored = error.stored if error.is_whole else error.stored.below(rest[done:])
            raise failed(self.source, NotAtHand(stored, is_whole=True)) from error
        return value


@dataclass(frozen=True, slots=True)
class ValueTemplate:
    """A template that is one expression, whose value is used without printing it."""

    source: str
    template: jinja2.Template
    environment: TemplateEnvironment
    prefix: str
    suffix: str
    is_data: bool
    """Whether the expression looks up a name."""
    secret: tuple[str, ...] | None
    """A secret that the expression names without a default."""

    def value(self, scope: Mapping[str, Value], budget: Budget) -> Value:
        """Return the value of the expression.

        Raises:
            TemplateError: The evaluation fails.
        """
        if self.secret is not None and KEYCHAIN not in scope:
            raise failed(self.source, _no_secret(self.secret))
        context = RenderContext(self.environment, scope, budget)
        try:
            return next(self.template.root_render_func(context))
        except _FAILURES as error:
            raise failed(self.source, error) from error


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A template that is rendered to text, because it is more than one expression."""

    source: str
    template: jinja2.Template
    environment: TemplateEnvironment
    secret: tuple[str, ...] | None
    """A secret that the template names without a default."""

    def text(
        self,
        scope: Mapping[str, Value],
        budget: Budget,
        *,
        unmarked: frozenset[str] | None = None,
    ) -> str:
        """Return the rendered text.

        Args:
            scope: The names.
            budget: The rest of the limits.
            unmarked: If given, inserted data is marked, except these texts.

        Raises:
            TemplateError: Rendering fails, or a limit is reached.
        """
        if self.secret is not None and KEYCHAIN not in scope:
            raise failed(self.source, _no_secret(self.secret))
        context = RenderContext(self.environment, scope, budget)
        context.unmarked = unmarked
        try:
            return "".join(_bounded(self.template.root_render_func(context), budget))
        except _FAILURES as error:
            raise failed(self.source, error) from error


type CompiledTemplate = PathTemplate | ValueTemplate | TextTemplate


def _bounded(chunks: Iterator[str], budget: Budget) -> Iterator[str]:
    length = 0
    for chunk in chunks:
        length += len(chunk)
        budget.check_length(length)
        yield chunk


def failed(source: str, error: Exception) -> TemplateError:
    """Return the error of the public interface for an error that a template has raised."""
    line: int | None = None
    match error:
        case EvaluationError():
            problem, line = str(error), error.line
        case jinja2.TemplateSyntaxError(message=message, lineno=number):
            problem, line = f"syntax error: {message or 'invalid template'}", number
        case jinja2.TemplateRuntimeError(message=message):
            problem = _unknown_name(message or "") or f"invalid operation: {message}"
        case RecursionError():
            problem = "template is nested too deeply"
        case MemoryError():
            problem = "template needs too much memory"
        case SyntaxError():
            problem = "syntax error: template is nested too deeply"
        case TypeError() if "positional argument" in str(error) or "takes" in str(error):
            problem = "too many arguments"
        case _:
            problem = f"invalid operation: {error}"
    if isinstance(error, NotAtHand):
        missing = ValueNotAtHand(problem, template=source, line=line)
        missing.stored, missing.is_whole = error.stored, error.is_whole
        return missing
    kind: type[TemplateError] = TemplateError
    if isinstance(error, LimitReached | NoSecret):
        kind = TemplateLimitError if isinstance(error, LimitReached) else SecretMissing
    return kind(problem, template=source, line=line)


def _no_secret(path: tuple[str, ...]) -> NoSecret:
    name = ".".join(path)
    return NoSecret(
        f"'{name}' has no value here: the keychain has no such entry, or only tools are given it"
    )


def _secret_of(tree: nodes.Template) -> tuple[str, ...] | None:
    """Return the first secret that a template names without a default or test for it."""
    if not any(name.name == KEYCHAIN for name in tree.find_all(nodes.Name)):
        return None
    if KEYCHAIN in names_made_in(tree):
        return None
    found = with_guards(lookups_in(tree))
    return next((one.path for one in found if one.path[0] == KEYCHAIN and not one.is_guarded), None)


def _unknown_name(message: str) -> str | None:
    unknown = re.fullmatch(r"No (filter|test) named '(.*)' found\.", message)
    if unknown is None:
        return None
    kind, name = unknown.groups()
    return f"unknown {kind}: {kind} {name} is unknown"


class Compiler:
    """Compiles templates of one dialect, and caches the last ones used.

    Threads may share a compiler; at worst, two of them compile the same template.
    """

    def __init__(
        self, dialect: Dialect, limits: Limits, *, max_entries: int, max_chars: int
    ) -> None:
        """Build a compiler.

        Args:
            dialect: The rule set.
            limits: Bounds of compilation.
            max_entries: Templates kept at most.
            max_chars: Characters of source kept at most; larger templates aren't kept.
        """
        self._texts = TemplateEnvironment(dialect, yields_values=False)
        self._values = TemplateEnvironment(dialect, yields_values=True)
        self.limits = limits
        self._max_entries = max_entries
        self._max_chars = max_chars
        self._chars = 0
        self._kept: dict[str, CompiledTemplate] = {}
        self._lock = threading.Lock()

    def compile(self, source: str) -> CompiledTemplate:
        """Return the compiled form of a template.

        Raises:
            TemplateError: The template is not valid or too long.
        """
        if self._chars < self._max_chars // 2 and len(self._kept) < self._max_entries // 2:
            # The cache is far from full, so the order of its entries doesn't matter yet.
            kept = self._kept.get(source)
            if kept is not None:
                return kept
        with self._lock:
            # Removing and adding an entry moves it to the end, away from eviction.
            kept = self._kept.pop(source, None)
            if kept is not None:
                self._kept[source] = kept
                return kept
        compiled = self._compile(source)
        if len(source) <= self._max_chars // 8:
            with self._lock:
                self._keep(source, compiled)
        return compiled

    def _keep(self, source: str, compiled: CompiledTemplate) -> None:
        if source not in self._kept:
            self._chars += len(source)
        self._kept[source] = compiled
        while len(self._kept) > self._max_entries or self._chars > self._max_chars:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._chars -= len(oldest)

    def _compile(self, source: str) -> CompiledTemplate:
        path = _PATH.fullmatch(source)
        if path is not None:
            names = tuple(path.group(1).split("."))
            if _NOT_A_NAME.isdisjoint(names):
                return PathTemplate(source, names, self._values)
        try:
            _check_length(source, self._texts, self.limits)
            tree = self._texts.parse(source)
            secret = _secret_of(tree) if KEYCHAIN in source else None
            single = single_expression(tree)
            tree = prepare(tree)
            if single is None:
                return TextTemplate(source, self._texts.from_tree(tree), self._texts, secret)
            # Rewriting happens in place or replaces the node, so look it up again.
            template = self._values.from_tree(_bare(tree))
            return ValueTemplate(
                source, template, self._values, single.prefix, single.suffix, single.is_data, secret
            )
        except _FAILURES as error:
            raise failed(source, error) from error


def _check_length(source: str, environment: TemplateEnvironment, limits: Limits) -> None:
    """Reject a template whose compilation would take too long.

    Raises:
        LimitReached: The template is too long.
    """
    if len(source) <= limits.max_source_chars:
        return
    if len(source) > limits.max_text_chars:
        raise LimitReached(f"template is longer than {limits.max_text_chars} characters")
    code = 0
    for _, token, text in environment.reference_lexer.tokeniter(source, None):
        if token not in _NO_CODE:
            code += len(text)
        if code > limits.max_source_chars:
            raise LimitReached(
                f"code of the template is longer than {limits.max_source_chars} characters"
            )


def _bare(tree: nodes.Template) -> nodes.Template:
    """Return the tree of a single expression without the whitespace around it."""
    output = tree.body[0]
    if isinstance(output, nodes.Output):
        output.nodes = [node for node in output.nodes if not isinstance(node, nodes.TemplateData)]
    return tree
