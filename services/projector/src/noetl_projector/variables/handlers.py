"""Variables of executions, one function per request."""

import orjson
from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_contract.http.executions.variables import VAR_TYPES, NewVar
from noetl_contract.http.moments import rfc3339
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.settings import Settings
from noetl_projector.variables.store import Variable, VariableStore


class VariableHandlers:
    """Reads and writes of variables; the execution need not exist."""

    def __init__(self, store: VariableStore, *, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "vars.list": self.on_list,
            "vars.get": self.on_get,
            "vars.set": self.on_set,
            "vars.delete": self.on_delete,
            "vars.clear": self.on_clear,
        }
        shard = self._settings.shard_index
        return {
            rpc_subject("projector", name, shard=shard): handler
            for name, handler in handlers.items()
        }

    async def on_list(self, request: JsonObject) -> bytes:
        """List all variables by name; this does not count as an access."""
        variables = await self._store.list_variables(
            int(request["execution_id"]), limit=self._settings.vars_list_limit
        )
        return encode_reply([_body(variable) for variable in variables])

    async def on_get(self, request: JsonObject) -> RpcReply | bytes:
        """Return one variable after counting the access."""
        execution_id, name = _key(request)
        variable = await self._store.read_variable(execution_id, name=name)
        return _unknown(request) if variable is None else encode_reply(_body(variable))

    async def on_set(self, request: JsonObject) -> RpcReply:
        """Write variables; those before the first of an unknown type are kept."""
        execution_id = int(request["execution_id"])
        wanted = [NewVar.model_validate(item) for item in request["variables"]]
        wrong = next(
            (index for index, item in enumerate(wanted) if item.var_type not in VAR_TYPES), None
        )
        # The last of a name wins, as if they were written one by one.
        last = {item.var_name: item for item in wanted[:wrong]}
        if last:
            await self._store.set_variables(execution_id, list(last.values()))
        if wrong is not None:
            return RpcReply(status=422, error=f"Invalid var_type: {wanted[wrong].var_type}")
        return RpcReply(
            body={"execution_id": execution_id, "status": "ok", "variables_set": len(wanted)}
        )

    async def on_delete(self, request: JsonObject) -> RpcReply:
        """Remove one variable."""
        execution_id, name = _key(request)
        if not await self._store.delete_variable(execution_id, name=name):
            return _unknown(request)
        return RpcReply(body={"execution_id": execution_id, "var_name": name, "status": "deleted"})

    async def on_clear(self, request: JsonObject) -> RpcReply:
        """Remove all variables."""
        execution_id = int(request["execution_id"])
        count = await self._store.delete_variables(execution_id)
        return RpcReply(
            body={"execution_id": execution_id, "status": "ok", "variables_deleted": count}
        )


def _key(request: JsonObject) -> tuple[int, str]:
    return int(request["execution_id"]), str(request["var_name"])


def _unknown(request: JsonObject) -> RpcReply:
    execution_id, name = _key(request)
    return RpcReply(status=404, error=f"Variable not found: {name} for execution {execution_id}")


def _body(variable: Variable) -> JsonObject:
    return {
        "var_name": variable.var_name,
        "var_type": variable.var_type,
        "var_value": orjson.Fragment(variable.var_value),
        "source_step": variable.source_step,
        "created_at": rfc3339(variable.created_at),
        "accessed_at": rfc3339(variable.accessed_at),
        "access_count": variable.access_count,
    }
