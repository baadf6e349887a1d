"""Variables of executions, one function per operation."""

from noetl_bus.rpc import Handlers, answers
from noetl_contract.http.executions.variables import (
    VAR_TYPES,
    VarDeletedAnswer,
    VarEntry,
    VarsDeletedAnswer,
    VarsSetAnswer,
)
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.projector import (
    VARS_CLEAR,
    VARS_DELETE,
    VARS_GET,
    VARS_LIST,
    VARS_SET,
    ExecutionName,
    VarName,
    VarsSet,
)

from noetl_projector.settings import Settings
from noetl_projector.variables.store import VariableStore


class VariableHandlers(Handlers):
    """Reads and writes of variables; the execution need not exist."""

    def __init__(self, store: VariableStore, *, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    @answers(VARS_LIST)
    async def on_list(self, request: ExecutionName) -> list[VarEntry]:
        """List all variables by name; this does not count as an access."""
        return await self._store.list_variables(
            request.execution_id, limit=self._settings.vars_list_limit
        )

    @answers(VARS_GET)
    async def on_get(self, request: VarName) -> VarEntry | Refusal:
        """Return one variable after counting the access."""
        found = await self._store.read_variable(request.execution_id, name=request.var_name)
        return found or _unknown(request)

    @answers(VARS_SET)
    async def on_set(self, request: VarsSet) -> VarsSetAnswer | Refusal:
        """Write variables; those before the first of an unknown type are kept."""
        execution_id, wanted = request.execution_id, request.variables
        wrong = next(
            (index for index, item in enumerate(wanted) if item.var_type not in VAR_TYPES), None
        )
        # The last of a name wins, as if they were written one by one.
        last = {item.var_name: item for item in wanted[:wrong]}
        if last:
            await self._store.set_variables(execution_id, list(last.values()))
        if wrong is not None:
            return Refusal(422, f"Invalid var_type: {wanted[wrong].var_type}")
        return VarsSetAnswer(execution_id=execution_id, status="ok", variables_set=len(wanted))

    @answers(VARS_DELETE)
    async def on_delete(self, request: VarName) -> VarDeletedAnswer | Refusal:
        """Remove one variable."""
        execution_id, name = request.execution_id, request.var_name
        if not await self._store.delete_variable(execution_id, name=name):
            return _unknown(request)
        return VarDeletedAnswer(execution_id=execution_id, var_name=name, status="deleted")

    @answers(VARS_CLEAR)
    async def on_clear(self, request: ExecutionName) -> VarsDeletedAnswer:
        """Remove all variables."""
        count = await self._store.delete_variables(request.execution_id)
        return VarsDeletedAnswer(
            execution_id=request.execution_id, status="ok", variables_deleted=count
        )


def _unknown(request: VarName) -> Refusal:
    return Refusal(
        404, f"Variable not found: {request.var_name} for execution {request.execution_id}"
    )
