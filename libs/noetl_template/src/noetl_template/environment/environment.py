"""The sandboxed Jinja environment of a dialect, and the functions of templates."""

from collections.abc import Mapping
from typing import Final, NoReturn, override

import jinja2
from jinja2 import nodes
from jinja2.lexer import Lexer
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.utils import Namespace

from noetl_template import operators
from noetl_template.containers import listed, mapped
from noetl_template.context import DialectEnvironment, RenderContext, TemplateFunction
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
# Cost of a macro call, as a number of characters.
_CHARS_PER_MACRO = 256
_OPERATORS = frozenset({"+", "-", "*", "/", "//", "%", "**"})

_ENTRY: Final = frozenset({"status", "context", "data"})


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


class TemplateEnvironment(DialectEnvironment):
    """Jinja with the operators, filters and look-ups of the reference server, for one dialect.

    Templates can't reach Python attributes. Look-ups support only maps, lists, strings and
    ``loop``, and :mod:`noetl_template.operators` evaluates every operator.
    """

    intercepted_binops = _OPERATORS
    intercepted_unops = frozenset({"+", "-"})
    context_class = RenderContext

    def __init__(self, dialect: Dialect, *, yields_values: bool) -> None:
        """Build the environment.

        Args:
            dialect: The rule set.
            yields_values: Whether a template yields the value of its one expression, not text.
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
                return _loop_member(obj, argument, self.dialect.undefined)
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
        assert isinstance(context, RenderContext)  # noqa: S101 - the only context class
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
        assert isinstance(context, RenderContext)  # noqa: S101 - the only context class
        return operators.binary(self.dialect, context.budget, operator, left, right)

    @override
    def call_unop(self, context: Context, operator: str, arg: Value) -> Value:
        return operators.unary(operator, arg)

    def from_tree(self, tree: nodes.Template) -> jinja2.Template:
        """Compile a prepared syntax tree to a template."""
        return self.template_class.from_code(self, self.compile(tree), self.globals)


def _undefined_of(dialect: Dialect) -> type[Undefined]:
    """Return the class from which generated code creates undefined values of the dialect."""

    class DialectUndefined(Undefined):
        def __new__(cls, *_args: Value, **_kwargs: Value) -> Value:
            return dialect.undefined

        def _fail_with_undefined_error(self, *_args: Value, **_kwargs: Value) -> NoReturn:
            raise EvaluationError("undefined value")

    return DialectUndefined


def _loop_member(entries: list[Value], name: str, undefined: Value) -> Value:
    """Return `results` or `stats` of a loop's result: data in index order, or numbers of entries.

    The form of its entries identifies the result of a loop. For any other list, return undefined.
    """
    if not all(isinstance(entry, dict) and entry.keys() == _ENTRY for entry in entries):
        return undefined
    if name == "results":
        return [entry["data"] for entry in entries]
    good = sum(entry["status"] in {"success", "COMPLETED"} for entry in entries)
    return {"total": len(entries), "success": good, "failed": len(entries) - good}
