"""All declared operations, for documents and checks."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from types import ModuleType

from noetl_contract.json import Json
from noetl_contract.model import Shape
from noetl_contract.rpc import (
    catalog,
    orchestrator,
    outbox,
    projector,
    schedules,
    states,
    suites,
    triage,
)
from noetl_contract.rpc.operation import Operation

_MODULES: tuple[ModuleType, ...] = (
    catalog,
    schedules,
    suites,
    orchestrator,
    outbox,
    projector,
    triage,
    states,
)


@cache
def all_operations() -> dict[Operation[Shape, Json], str]:
    """Return the operations of all services with their summaries, in order of declaration."""
    return dict(_declared())


def _declared() -> Iterator[tuple[Operation[Shape, Json], str]]:
    for module in _MODULES:
        summaries = dict(_summaries(inspect.getsource(module)))
        for name, value in vars(module).items():
            if isinstance(value, Operation):
                yield value, summaries[name]


def _summaries(source: str) -> Iterator[tuple[str, str]]:
    """Find the names of a module that have a text below their assignment."""
    for pair in pairwise(ast.parse(source).body):
        match pair:
            case ast.Assign([ast.Name(name)]), ast.Expr(ast.Constant(str(summary))):
                yield name, summary
