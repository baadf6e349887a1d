"""The sandboxed Jinja environment of a dialect."""

from collections.abc import Mapping
from typing import NoReturn, override

import jinja2
from jinja2 import nodes
from jinja2.lexer import Lexer
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.utils import Namespace

from noetl_template import operators
from noetl_template.context import DialectEnvironment, RenderContext, TemplateFunction
from noetl_template.environment.functions import FUNCTIONS
from noetl_template.environment.loops import of_loop
from noetl_template.environment.predicates import PREDICATES
from noetl_template.errors import EvaluationError
from noetl_template.filters import filters_of
from noetl_template.stored import OF_LOOPS
from noetl_template.syntax.codegen import TextGenerator, ValueGenerator
from noetl_template.syntax.lexer import ReferenceLexer
from noetl_template.values import Dialect, Group, Kind, Value

_LOOP_NAMES = frozenset(
    {
        "index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0",
        "previtem", "nextitem",
    }
)  # fmt: skip
# What the call of a macro costs, as a number of characters.
_CHARS_PER_MACRO = 256
_OPERATORS = frozenset({"+", "-", "*", "/", "//", "%", "**"})


class TemplateEnvironment(DialectEnvironment):
    """Jinja with the original server's operators, filters and look-ups, for one dialect.

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
        self.functions = FUNCTIONS
        self.code_generator_class = ValueGenerator if yields_values else TextGenerator
        self.plain_eval_context = EvalContext(self)
        self.filters = filters_of(dialect)
        self.tests = PREDICATES  # type: ignore[assignment]  # typed as plain functions
        self.globals = {}
        self.reference_lexer = ReferenceLexer(self)

    @property
    @override
    def lexer(self) -> Lexer:
        return self.reference_lexer

    @override
    def getattr(self, obj: Value, attribute: str) -> Value:
        return self.getitem(obj, attribute)

    @override
    def getitem(  # noqa: PLR0911 - one return per kind
        self, obj: Value, argument: Value
    ) -> Value:
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
            case list() if argument in OF_LOOPS:
                return of_loop(obj, argument, self.dialect.undefined)
            case str() | list() | tuple():
                return self._element(obj, argument)
            case Mapping() if dialect.kind(argument) is not Kind.MAP:
                return dialect.incoming(obj.get(argument, dialect.undefined))
            case _:
                return dialect.undefined

    def _attribute(self, obj: Value, name: Value) -> Value:
        if not isinstance(name, str) or name.startswith("_"):
            return self.dialect.undefined
        if isinstance(obj, LoopContext) and name not in _LOOP_NAMES:
            return self.dialect.undefined
        return getattr(obj, name, self.dialect.undefined)

    def _element(self, obj: Value, index: Value) -> Value:
        if isinstance(index, float) and index.is_integer():
            index = int(index)
        if type(index) is not int or not -len(obj) <= index < len(obj):
            return self.dialect.undefined
        return self.dialect.incoming(obj[index])

    @override
    def call(self, context: Context, obj: Value, /, *args: Value, **kwargs: Value) -> Value:
        assert isinstance(context, RenderContext)  # noqa: S101 - ours is the only context class
        context.budget.spend()
        match obj:
            case TemplateFunction():
                return obj.run(context, *args, **kwargs)
            case Macro():
                context.budget.spend(_CHARS_PER_MACRO)
                text = context.call(obj, *args, **kwargs)
            case LoopContext():
                text = obj(context.iterate(*args, **kwargs))
            case _:
                raise EvaluationError("this value can't be called")
        context.budget.check_length(len(text))
        context.budget.spend(len(text))
        return text

    @override
    def call_binop(self, context: Context, operator: str, left: Value, right: Value) -> Value:
        assert isinstance(context, RenderContext)  # noqa: S101 - ours is the only context class
        return operators.binary(self.dialect, context.budget, operator, left, right)

    @override
    def call_unop(self, context: Context, operator: str, arg: Value) -> Value:
        return operators.unary(operator, arg)

    def from_tree(self, tree: nodes.Template) -> jinja2.Template:
        """Return a runnable template of a prepared syntax tree."""
        return self.template_class.from_code(self, self.compile(tree), self.globals)


def _undefined_of(dialect: Dialect) -> type[Undefined]:
    """Return the class generated code makes undefined values of: it gives the dialect's own one."""

    class DialectUndefined(Undefined):
        def __new__(cls, *_args: Value, **_kwargs: Value) -> Value:
            return dialect.undefined

        def _fail_with_undefined_error(self, *_args: Value, **_kwargs: Value) -> NoReturn:
            raise EvaluationError("undefined value")

    return DialectUndefined
