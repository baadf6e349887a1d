"""Variables of executions, one function per request (http-a 10)."""

from typing import Any

import asyncpg
import orjson
from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_contract.http.moments import rfc3339
from noetl_contract.http.vars import VAR_TYPES, NewVar
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.settings import Settings


type Pool = asyncpg.Pool[asyncpg.Record]


class VarHandlers:
    """Reads and writes of ``noetl.transient``; nobody checks that an execution exists."""

    def __init__(self, pool: Pool, *, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._sql = Queries.load("noetl_projector", "vars.sql")

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

    async def on_list(self, request: Request) -> bytes:
        """List all variables by name; that is no access."""
        with translate():
            rows = await self._pool.fetch(
                self._sql["list_vars"], int(request["execution_id"]), self._settings.vars_list_limit
            )
        return encode_reply([_body(row) for row in rows])

    async def on_get(self, request: Request) -> RpcReply | bytes:
        """Return one variable after counting the access."""
        with translate():
            row = await self._pool.fetchrow(self._sql["read_var"], *_key(request))
        return _unknown(request) if row is None else encode_reply(_body(row))

    async def on_set(self, request: Request) -> RpcReply:
        """Write variables; those before one of a wrong type are kept, as they always were."""
        execution_id = int(request["execution_id"])
        wanted = [NewVar.model_validate(item) for item in request["variables"]]
        wrong = next(
            (index for index, item in enumerate(wanted) if item.var_type not in VAR_TYPES), None
        )
        # The last of a name wins, as if they were written one by one.
        last = {item.var_name: item for item in wanted[:wrong]}
        if last:
            with translate():
                await self._pool.execute(
                    self._sql["set_vars"],
                    execution_id,
                    list(last),
                    [item.var_type for item in last.values()],
                    [_text(item.var_value) for item in last.values()],
                    [item.source_step for item in last.values()],
                )
        if wrong is not None:
            return RpcReply(status=422, error=f"Invalid var_type: {wanted[wrong].var_type}")
        return RpcReply(
            body={"execution_id": execution_id, "status": "ok", "variables_set": len(wanted)}
        )

    async def on_delete(self, request: Request) -> RpcReply:
        """Remove one variable."""
        execution_id, name = _key(request)
        with translate():
            found = await self._pool.fetchval(self._sql["delete_var"], execution_id, name)
        if found is None:
            return _unknown(request)
        return RpcReply(body={"execution_id": execution_id, "var_name": name, "status": "deleted"})

    async def on_clear(self, request: Request) -> RpcReply:
        """Remove all variables."""
        execution_id = int(request["execution_id"])
        with translate():
            count = await self._pool.fetchval(self._sql["delete_vars"], execution_id)
        return RpcReply(
            body={"execution_id": execution_id, "status": "ok", "variables_deleted": count}
        )


def _key(request: Request) -> tuple[int, str]:
    return int(request["execution_id"]), str(request["var_name"])


def _unknown(request: Request) -> RpcReply:
    execution_id, name = _key(request)
    return RpcReply(status=404, error=f"Variable not found: {name} for execution {execution_id}")


def _text(value: Json) -> str:
    return orjson.dumps(value).decode()


def _body(row: asyncpg.Record) -> Request:
    return {
        "var_name": row["var_name"],
        "var_type": row["var_type"],
        # As text, so that no number is rounded on its way.
        "var_value": orjson.Fragment(row["var_value"]),
        "source_step": row["source_step"],
        "created_at": rfc3339(row["created_at"]),
        "accessed_at": rfc3339(row["accessed_at"]),
        "access_count": row["access_count"],
    }
