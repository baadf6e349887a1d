"""The sandboxed Jinja environment of a dialect, and the context templates run in."""

from collections.abc import Mapping
from typing import Any, NoReturn, override

import jinja2
from jinja2 import nodes
from jinja2.lexer import Lexer
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import Namespace, missing

from noetl_template import operators
from noetl_template.codegen import TextGenerator, ValueGenerator
from noetl_template.errors import EvaluationError
from noetl_template.filters import filters_of
from noetl_template.functions import FUNCTIONS, TemplateFunction
from noetl_template.lexer import ReferenceLexer
from noetl_template.limits import Budget
from noetl_template.predicates import predicates_of
from noetl_template.values import Dialect, Group, Kind

_LOOP_NAMES = frozenset(
    {
        "index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0",
        "previtem", "nextitem",
    }
)  # fmt: skip
_LOOP_CALLS = frozenset({"cycle", "changed"})
_OPERATORS = frozenset({"+", "-", "*", "/", "//", "%", "**"})


class RenderContext(Context):
    """The names one render sees: the caller's scope itself, then the functions."""

    environment: "TemplateEnvironment"

    def __init__(
        self, environment: "TemplateEnvironment", scope: Mapping[str, Any], budget: Budget
    ) -> None:
        # The base class would copy the scope; this sets the same attributes around it.
        self.parent = scope  # type: ignore[assignment]  # only ever read
        self.vars = {}
        self.environment = environment
        self.eval_ctx = environment.plain_eval_context
        self.exported_vars = set()
        self.name = None
        self.globals_keys = set()
        self.blocks = {}
        self.budget = budget
        self.dialect = environment.dialect

    @override
    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        try:
            value = self.parent[key]
        except KeyError:
            return FUNCTIONS.get(key, missing)
        return self.dialect.incoming(value)

    def text(self, value: Any) -> str:
        """Print one expression into the output."""
        text = self.dialect.text(value)
        self.budget.check_length(len(text))
        self.budget.spend(len(text))
        return text

    def iterate(self, value: Any, weight: int = 0) -> list[Any]:
        """The elements of a ``for``; each round is paid for with the weight of the body."""
        elements = self.dialect.elements(value)
        self.budget.spend(64 * len(elements) * (1 + weight // 64))
        return elements

    def compare(self, operator: str, left: Any, right: Any) -> bool:
        """One comparison."""
        return operators.compare(self.dialect, self.budget, operator, left, right)

    def concatenate(self, *values: Any) -> str:
        """The ``~`` operator."""
        return operators.concatenate(self.dialect, self.budget, values)

    def cut(self, value: Any, start: Any = None, stop: Any = None, step: Any = None) -> Any:
        """A slice."""
        return operators.cut(self.dialect, value, start, stop, step)

    def result_of(self, value: Any) -> Any:
        """``.result`` of a step's data: the data itself when it has no such key."""
        if isinstance(value, Mapping) and "result" not in value:
            return value
        return self.environment.getattr(value, "result")

    def call_name(self, name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call what a name stands for."""
        if isinstance(function, TemplateFunction | Macro | LoopContext):
            return self.environment.call(self, function, *args, **kwargs)
        raise EvaluationError(f"unknown function: {name} is unknown")

    def call_method(self, value: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call an attribute; only ``loop`` has any that can be called."""
        if isinstance(value, LoopContext) and name in _LOOP_CALLS:
            self.budget.spend()
            return getattr(value, name)(*args, **kwargs)
        kind = self.dialect.kind(value).word
        raise EvaluationError(f"unknown method: {kind} has no method named {name}")


class TemplateEnvironment(SandboxedEnvironment):
    """Jinja with the reference's operators, filters and look-ups, for one dialect.

    Nothing reaches a Python attribute: look-ups know maps, lists, strings and ``loop`` only, and
    every operator is routed through :mod:`noetl_template.operators`.
    """

    intercepted_binops = _OPERATORS
    intercepted_unops = frozenset({"+", "-"})
    context_class = RenderContext

    def __init__(self, dialect: Dialect, *, yields_values: bool) -> None:
        """Build the environment.

        Args:
            dialect: The rule set.
            yields_values: Whether a template is one expression whose value is wanted, not text.
        """
        super().__init__(
            optimized=False,  # constants would be folded by Python's rules
            undefined=_undefined_of(dialect),
            autoescape=False,
            cache_size=0,
        )
        self.dialect = dialect
        self.code_generator_class = ValueGenerator if yields_values else TextGenerator
        self.plain_eval_context = EvalContext(self)
        self.filters = filters_of(dialect)
        self.tests = predicates_of(dialect)  # type: ignore[assignment]  # typed as plain functions
        self.globals = {}
        self.reference_lexer = ReferenceLexer(self)

    @property
    @override
    def lexer(self) -> Lexer:
        return self.reference_lexer

    @override
    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    @override
    def getitem(  # noqa: PLR0911 - one return per kind
        self, obj: Any, argument: Any
    ) -> Any:
        dialect = self.dialect
        if type(obj) is dict:
            try:
                return dialect.incoming(obj.get(argument, dialect.undefined))
            except TypeError:  # a list or map as key
                return dialect.undefined
        match obj:
            case Namespace() | LoopContext():
                return self._attribute(obj, argument)
            case Group() if argument in {"grouper", "list"}:
                return obj[0 if argument == "grouper" else 1]
            case str() | list() | tuple():
                return self._element(obj, argument)
            case Mapping() if dialect.kind(argument) is not Kind.MAP:
                return dialect.incoming(obj.get(argument, dialect.undefined))
            case _:
                return dialect.undefined

    def _attribute(self, obj: Any, name: Any) -> Any:
        if not isinstance(name, str) or name.startswith("_"):
            return self.dialect.undefined
        if isinstance(obj, LoopContext) and name not in _LOOP_NAMES:
            return self.dialect.undefined
        return getattr(obj, name, self.dialect.undefined)

    def _element(self, obj: Any, index: Any) -> Any:
        if isinstance(index, float) and index.is_integer():
            index = int(index)
        if type(index) is not int or not -len(obj) <= index < len(obj):
            return self.dialect.undefined
        return self.dialect.incoming(obj[index])

    @override
    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        assert isinstance(context, RenderContext)  # noqa: S101 - ours is the only context class
        context.budget.spend()
        match obj:
            case TemplateFunction():
                return obj.call(context, *args, **kwargs)
            case Macro():
                return context.call(obj, *args, **kwargs)
            case LoopContext():
                return obj(context.iterate(*args, **kwargs))
            case _:
                raise EvaluationError("this value can't be called")

    @override
    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        assert isinstance(context, RenderContext)  # noqa: S101 - ours is the only context class
        return operators.binary(self.dialect, context.budget, operator, left, right)

    @override
    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        return operators.unary(operator, arg)

    def from_tree(self, tree: nodes.Template) -> jinja2.Template:
        """A runnable template of a prepared syntax tree."""
        return self.template_class.from_code(self, self.compile(tree), self.globals)


def _undefined_of(dialect: Dialect) -> type[Undefined]:
    """The class generated code makes undefined values of: it gives the dialect's own one."""

    class DialectUndefined(Undefined):
        def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:
            return dialect.undefined

        def _fail_with_undefined_error(self, *_args: Any, **_kwargs: Any) -> NoReturn:
            raise EvaluationError("undefined value")

    return DialectUndefined
