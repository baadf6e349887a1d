"""Reads of executions and commands, one function per request."""

import asyncio

from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_contract.events import ExecutionStatus
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.executions.bodies import (
    detail_body,
    entry_body,
    event_bodies,
    events_body,
    pagination_body,
    status_body,
)
from noetl_projector.executions.store import ExecutionStore, State
from noetl_projector.rpc import refused
from noetl_projector.settings import Settings

# A browser rounds an id to a double: up to 64 off at today's size.
_ROUNDING = 128


class ExecutionHandlers:
    """Answers from the log and its state row, never from the read model."""

    def __init__(self, store: ExecutionStore, *, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "executions.list": self.on_list,
            "executions.get": self.on_get,
            "executions.status": self.on_status,
            "executions.events": self.on_events,
            "executions.cancelled": self.on_cancelled,
            "executions.exists": self.on_exists,
            "executions.origin": self.on_origin,
            "executions.tail": self.on_tail,
            "command.get": self.on_command,
        }
        shard = self._settings.shard_index
        return {
            rpc_subject("projector", name, shard=shard): handler
            for name, handler in handlers.items()
        }

    async def on_list(self, request: JsonObject) -> bytes:
        """List executions, newest first."""
        states = await self._store.list_states(
            catalog_id=request.get("catalog_id"),
            path_part=request.get("path"),
            status=request.get("status"),
            limit=min(int(request.get("limit", 50)), self._settings.list_limit),
            offset=max(int(request.get("offset", 0)), 0),
        )
        return encode_reply([entry_body(state) for state in states])

    async def on_get(self, request: JsonObject) -> RpcReply | bytes:
        """Return an execution with its events: the newest ones ascending, or a page."""
        state = await self._store.find_state(int(request["execution_id"]))
        if state is None:
            return _unknown(request)
        workload = await self._store.read_start(state.execution_id)
        result = None
        if state.status != ExecutionStatus.RUNNING:
            result = await self._store.read_last_result(state.execution_id, position=state.position)
        if "page" in request:
            includes_events = bool(request.get("include_events", True))
            events, pagination = await self._page(state, request, is_wanted=includes_events)
        else:
            includes_events = True
            events, pagination = await self._newest(state)
        return encode_reply(
            detail_body(
                state,
                workload=workload,
                result=result,
                events=events,
                includes_events=includes_events,
                pagination=pagination,
            )
        )

    async def on_status(self, request: JsonObject) -> RpcReply | bytes:
        """Return status and progress, also of a log that no playbook wrote."""
        execution_id = int(request["execution_id"])
        state, steps = await self._store.find_status(
            execution_id, limit=self._settings.completed_steps_max
        )
        state = state or await self._store.find_log(execution_id)
        if state is None:
            return _unknown(request)
        return encode_reply(status_body(state, completed_steps=steps))

    async def on_events(self, request: JsonObject) -> RpcReply | bytes:
        """Return a page of events, newest first."""
        state = await self._find_log(int(request["execution_id"]))
        if state is None:
            return _unknown(request)
        events, pagination = await self._page(state, request, is_wanted=True)
        return encode_reply(events_body(state, events=events, pagination=pagination))

    async def on_cancelled(self, request: JsonObject) -> bytes:
        """Return whether an execution was cancelled; an unknown execution was not."""
        execution_id = int(request["execution_id"])
        state = await self._find_log(execution_id)
        status = None if state is None else state.status
        is_cancelled = status == ExecutionStatus.CANCELLED
        return encode_reply(
            {
                "execution_id": execution_id,
                "is_cancelled": is_cancelled,
                "cancelled": is_cancelled,
                "completed": status == ExecutionStatus.COMPLETED,
                "failed": status == ExecutionStatus.FAILED,
                "status": status,
            }
        )

    async def on_exists(self, request: JsonObject) -> bytes:
        """Return whether an execution was started, and its number of first commands (W5)."""
        execution_id = int(request["execution_id"])
        state = await self._store.find_state(execution_id)
        commands = 0
        if state is not None:
            expected = await self._store.read_expected_iterations(execution_id)
            commands = 1 if expected is None else expected
        return encode_reply(
            {
                "exists": state is not None,
                "status": None if state is None else state.status,
                "commands_generated": commands,
            }
        )

    async def on_origin(self, request: JsonObject) -> RpcReply | bytes:
        """Return catalog entry and workload of an execution, unmasked: for services only."""
        state = await self._store.find_state(int(request["execution_id"]))
        if state is None:
            return _unknown(request)
        workload = await self._store.read_start(state.execution_id)
        return encode_reply({"catalog_id": state.catalog_id, "workload": workload})

    async def on_tail(self, request: JsonObject) -> RpcReply | bytes:
        """Return events after a position or an event, ascending, and where the log stands."""
        execution_id = int(request["execution_id"])
        # The state is read first, so that its position is never past the rows.
        state = await self._store.find_state(execution_id)
        if state is None:
            return _unknown(request)
        after = int(request.get("after_position", 0))
        seen = request.get("after_event_id")
        if seen is not None:
            after = await self._store.find_position(
                execution_id, event_id=int(seen), rounding=_ROUNDING
            )
        rows = await self._store.read_after(
            execution_id,
            position=after,
            limit=min(int(request.get("limit", 500)), self._settings.tail_events_max),
        )
        events = await asyncio.to_thread(
            event_bodies,
            rows,
            execution_id=execution_id,
            max_bytes=self._settings.detail_bytes_max,
            newest_first=False,
        )
        return encode_reply(
            {
                "events": events,
                "status": state.status,
                "position": state.position,
                "after_position": after,
            }
        )

    async def on_command(self, request: JsonObject) -> RpcReply | bytes:
        """Return a command as issued, unmasked: its reader is a worker."""
        event_id = int(request["event_id"])
        command = await self._store.find_command(event_id, execution_id=request.get("execution_id"))
        if command is None:
            return refused(404, f"command.issued event not found: {event_id}")
        return encode_reply(
            {
                "execution_id": command.execution_id,
                "node_id": command.step,
                "node_name": command.step,
                "action": command.tool_kind,
                "context": command.context,
                "meta": command.meta,
            }
        )

    async def _find_log(self, execution_id: int) -> State | None:
        state = await self._store.find_state(execution_id)
        return state or await self._store.find_log(execution_id)

    async def _newest(self, state: State) -> tuple[list[JsonObject], JsonObject]:
        """Return the newest events in ascending order, and their page of the log."""
        limit = self._settings.detail_events_max
        rows = await self._store.read_after(
            state.execution_id, position=max(0, state.position - limit), limit=limit
        )
        events = await asyncio.to_thread(
            event_bodies,
            rows,
            execution_id=state.execution_id,
            max_bytes=self._settings.detail_bytes_max,
            newest_first=False,
        )
        return events, pagination_body(page=1, page_size=limit, total=state.position)

    async def _page(
        self, state: State, request: JsonObject, *, is_wanted: bool
    ) -> tuple[list[JsonObject], JsonObject]:
        """Return a page in descending order."""
        page, page_size = int(request["page"]), int(request["page_size"])
        since = request.get("since_event_id")
        above = None if since is None else int(since) - _ROUNDING
        event_type = request.get("event_type")
        total = state.position
        if above is not None or event_type is not None:
            total = await self._store.count_page(
                state.execution_id, above_event_id=above, event_type=event_type
            )
        pagination = pagination_body(page=page, page_size=page_size, total=total)
        if not is_wanted:
            return [], pagination
        rows = await self._store.read_page(
            state.execution_id,
            above_event_id=above,
            event_type=event_type,
            limit=page_size,
            offset=(page - 1) * page_size,
        )
        events = await asyncio.to_thread(
            event_bodies,
            rows,
            execution_id=state.execution_id,
            max_bytes=self._settings.detail_bytes_max,
            newest_first=True,
        )
        return events, pagination


def _unknown(request: JsonObject) -> RpcReply:
    return refused(404, f"Execution not found: {request['execution_id']}")
