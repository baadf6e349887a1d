"""The context of one render: names, budget and the operations of a dialect."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import override

from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import missing

from noetl_template import operators
from noetl_template.containers import listed, mapped
from noetl_template.errors import EvaluationError
from noetl_template.limits import Budget
from noetl_template.syntax.literals import marked
from noetl_template.values import Dialect, Value
from noetl_template.walks import equal


@dataclass(frozen=True, slots=True)
class TemplateFunction:
    """A function that templates may call by its name; the first argument is the context."""

    run: Callable[..., Value]


class DialectEnvironment(SandboxedEnvironment):
    """The part of an environment that contexts and filters use."""

    dialect: Dialect
    functions: Mapping[str, TemplateFunction]
    plain_eval_context: EvalContext


class RenderContext(Context):
    """The names of one render: the scope of the caller, then the functions."""

    environment: DialectEnvironment

    def __init__(
        self, environment: DialectEnvironment, scope: Mapping[str, Value], budget: Budget
    ) -> None:
        # The base class would copy the scope, so this sets its attributes instead of calling it.
        self.parent = scope  # type: ignore[assignment]  # only ever read
        self.vars = {}
        self.environment = environment
        self.eval_ctx = environment.plain_eval_context
        self.exported_vars = set()
        self.name = None
        self.globals_keys = set()
        self.blocks = {}
        self.budget = budget
        self.unmarked: frozenset[str] | None = None
        self.dialect = environment.dialect

    @override
    def resolve_or_missing(self, key: str) -> Value:
        if key in self.vars:
            return self.vars[key]
        try:
            value = self.parent[key]
        except KeyError:
            return self.environment.functions.get(key, missing)
        return self.dialect.incoming(value)

    def text(self, value: Value) -> str:
        """Return the text of an expression for the output."""
        text = self.dialect.text(value, self.budget)
        self.budget.check_length(len(text))
        self.budget.spend(len(text))
        return text

    def insert(self, value: Value) -> str:
        """Return the text of data for the output, marked if wanted."""
        text = self.text(value)
        if self.unmarked is None or (self.unmarked and text.strip() in self.unmarked):
            return text
        return marked(text)

    def iterate(self, value: Value, weight: int = 0) -> list[Value]:
        """Return the elements of a ``for``; the budget pays for each round by the body's weight."""
        elements = self.dialect.elements(value, self.budget)
        self.budget.spend(64 * len(elements) * (1 + weight))
        return elements

    def new_list(self, *elements: Value) -> Value:
        """Return the value of a list literal."""
        return listed(self.budget, elements)

    def new_map(self, entries: dict[Value, Value]) -> Value:
        """Return the value of a map literal."""
        return mapped(self.budget, entries)

    def compare(self, operator: str, left: Value, right: Value) -> bool:
        """Return the result of one comparison."""
        return operators.compare(self.dialect, self.budget, operator, left, right)

    def concatenate(self, *values: Value) -> str:
        """Return the result of the ``~`` operator."""
        return operators.concatenate(self.dialect, self.budget, values)

    def cut(
        self, value: Value, start: Value = None, stop: Value = None, step: Value = None
    ) -> Value:
        """Return a slice."""
        return operators.cut(self.dialect, self.budget, value, (start, stop, step))

    def result_of(self, value: Value) -> Value:
        """Return ``.result`` of a step's data, or the data itself if it has no such key."""
        if isinstance(value, Mapping) and "result" not in value:
            return value
        return self.environment.getattr(value, "result")

    def call_name(self, name: str, function: Value, *args: Value, **kwargs: Value) -> Value:
        """Call the function of a name."""
        if isinstance(function, TemplateFunction | Macro | LoopContext):
            return self.environment.call(self, function, *args, **kwargs)
        raise EvaluationError(f"unknown function: {name} is unknown")

    def call_method(self, value: Value, name: str, *args: Value, **kwargs: Value) -> Value:
        """Call an attribute; only ``loop`` has callable attributes."""
        if isinstance(value, LoopContext) and name == "cycle":
            self.budget.spend()
            return value.cycle(*args, **kwargs)
        if isinstance(value, LoopContext) and name == "changed":
            return self._has_changed(value, args)
        kind = self.dialect.kind(value).word
        raise EvaluationError(f"unknown method: {kind} has no method named {name}")

    def _has_changed(self, loop: LoopContext, values: tuple[Value, ...]) -> bool:
        """Return whether the arguments of ``loop.changed`` differ from those of the last call."""
        self.budget.spend()
        last = loop._last_changed_value  # noqa: SLF001 - Jinja's own state of `changed`
        if (
            isinstance(last, tuple)
            and len(last) == len(values)
            and all(equal(one, other, self.budget) for one, other in zip(last, values, strict=True))
        ):
            return False
        loop._last_changed_value = values  # noqa: SLF001 - Jinja's own state of `changed`
        return True


type Operation = Callable[..., Value]
"""A filter or test: a function of the render context, the value and the arguments."""


class Registry(dict[str, Operation]):
    """Operations by name, with a substitute for unknown names, so that only their use is an error.

    Jinja's compiler calls ``get`` and rejects the template if it returns ``None``. The reference
    server accepts unknown names in branches that are never executed.
    """

    @override
    def get(self, key: str, default: Value = None, /) -> Operation:
        return super().get(key, _unknown)


def _unknown(*_args: Value) -> None:
    """Do nothing; this is never called, because generated code looks the name up again."""
