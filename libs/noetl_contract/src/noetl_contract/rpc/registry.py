"""All declared operations, for documents and checks."""

from collections.abc import Iterator
from types import ModuleType

from pydantic import BaseModel

from noetl_contract.json import Json
from noetl_contract.rpc import orchestrator, outbox
from noetl_contract.rpc.catalog import documents, runtimes, secrets
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.projector import executions, read_model, results, sql, variables

__all__ = ["all_operations"]

_MODULES: tuple[ModuleType, ...] = (
    documents,
    runtimes,
    secrets,
    orchestrator,
    outbox,
    executions,
    read_model,
    results,
    variables,
    sql,
)


def all_operations() -> list[Operation[BaseModel, Json]]:
    """Return the operations of all services, in the order of their declaration."""
    return list(_declared())


def _declared() -> Iterator[Operation[BaseModel, Json]]:
    for module in _MODULES:
        yield from (value for value in vars(module).values() if isinstance(value, Operation))
