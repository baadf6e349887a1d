"""Reads of executions, their commands and events, one function per operation."""

import asyncio
from collections.abc import Sequence
from functools import partial

from noetl_bus.rpc import Encoded, Handlers, answers, encoded
from noetl_contract.events import ExecutionStatus
from noetl_contract.http.executions.events import BatchStatus, EventResult
from noetl_contract.http.executions.reads import (
    CancellationCheck,
    EventsAnswer,
    ExecutionDetail,
    ExecutionEntry,
    ExecutionStatusAnswer,
)
from noetl_contract.http.masking import masked
from noetl_contract.http.secret_values import without
from noetl_contract.http.workers.commands import CommandAnswer
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.projector import (
    COMMAND_GET,
    COMMAND_STANDING,
    EVENT_RESULT,
    EVENTS_BATCH,
    EXECUTIONS_CANCELLED,
    EXECUTIONS_EVENTS,
    EXECUTIONS_EXISTS,
    EXECUTIONS_GET,
    EXECUTIONS_LIST,
    EXECUTIONS_ORIGIN,
    EXECUTIONS_STATES,
    EXECUTIONS_STATUS,
    EXECUTIONS_STUCK,
    EXECUTIONS_TAIL,
    BatchName,
    CommandName,
    CommandStanding,
    DetailRequest,
    EventName,
    EventsPage,
    ExecutionExists,
    ExecutionName,
    ExecutionNames,
    ExecutionOrigin,
    ExecutionsPage,
    ExecutionStates,
    ExecutionTail,
    StuckExecutions,
    StuckRequest,
    TailRequest,
)

from noetl_projector.executions.answers import (
    detail_answer,
    events_answer,
    has_error_text,
    list_entry,
    pagination_of,
    shown_events,
    status_answer,
)
from noetl_projector.executions.kept_details import KeptDetails
from noetl_projector.executions.store import (
    Bodies,
    ExecutionStore,
    LogRow,
    State,
    Wanted,
)
from noetl_projector.known_secrets import KnownSecrets
from noetl_projector.projection.store import FAR_BEHIND, ProjectionStore
from noetl_projector.settings import Settings

# Characters of bodies that take a few milliseconds to build.
_SMALL = 200_000
# A browser rounds an id to a double: up to 64 off at today's size.
_ROUNDING = 128


class ExecutionHandlers(Handlers):
    """Answers from the log and its state row.

    Of the read model only the steps are taken, with what the log holds behind them.
    """

    def __init__(
        self,
        store: ExecutionStore,
        projection: ProjectionStore,
        *,
        secrets: KnownSecrets,
        settings: Settings,
    ) -> None:
        self._store = store
        self._projection = projection
        self._secrets = secrets
        self._settings = settings
        self._large_answers = asyncio.Semaphore(1)
        self._kept = KeptDetails(settings.detail_kept_bytes)

    @answers(EXECUTIONS_LIST)
    async def on_list(self, request: ExecutionsPage) -> Encoded[list[ExecutionEntry]]:
        """List executions, newest first."""
        wanted = Wanted(
            catalog_id=request.catalog_id,
            path_part=request.path or None,
            status=request.status,
            parent_id=request.parent_execution_id,
            stems=None if request.principal is None else request.principal.stems(),
            after=request.after,
            after_started_at=request.after_started_at,
            since=request.since,
            until=request.until,
            has_soft_errors=request.soft_errors,
            limit=min(request.limit, self._settings.list_limit),
            offset=max(request.offset, 0),
        )
        states = await self._store.list_states(wanted)
        secrets = await self._secrets.of_many(
            state.execution_id for state in states if has_error_text(state)
        )
        entries = [
            list_entry(state, secrets=secrets.get(state.execution_id, ())) for state in states
        ]
        return encoded(EXECUTIONS_LIST, entries)

    @answers(EXECUTIONS_GET)
    async def on_get(self, request: DetailRequest) -> Encoded[ExecutionDetail] | Refusal:
        """Return an execution with its events: the newest ones ascending, or a page."""
        state = await self._store.find_state(request.execution_id)
        if state is None:
            return _unknown(request.execution_id)
        kept = self._kept.find(request, state)
        if kept is not None:
            return Encoded(kept)
        workload = await self._store.read_start(state.execution_id)
        result = None
        if state.status != ExecutionStatus.RUNNING:
            result = await self._store.read_last_result(state.execution_id, position=state.position)
        if request.page is None:
            events, pagination = await self._newest(state, self._bodies(request))
        elif request.include_events:
            page = EventsPage.model_validate(request, from_attributes=True)
            events, pagination = await self._page(state, page, self._bodies(request))
        else:
            page = EventsPage.model_validate(request, from_attributes=True)
            events, pagination = await self._page(state, page, None)
        body = detail_answer(
            state,
            workload=workload,
            result=result,
            events=events,
            includes_events=request.page is None or request.include_events,
            pagination=pagination,
            secrets=await self._secrets.of(state.execution_id),
        )
        answer = encoded(EXECUTIONS_GET, body)
        self._kept.keep(request, state, answer.body)
        return answer

    @answers(EXECUTIONS_STATUS)
    async def on_status(self, request: ExecutionName) -> Encoded[ExecutionStatusAnswer] | Refusal:
        """Return status and progress, also of a log that no playbook wrote."""
        state, steps, behind = await self._store.find_status(
            request.execution_id, limit=self._settings.completed_steps_max
        )
        if behind > FAR_BEHIND:
            # The next reader finds more of it folded: a log from before there was a model.
            await self._projection.approach(request.execution_id, times=1)
        state = state or await self._store.find_log(request.execution_id)
        if state is None:
            return _unknown(request.execution_id)
        has_text = has_error_text(state)
        secrets = await self._secrets.of(state.execution_id) if has_text else ()
        body = status_answer(state, completed_steps=steps, secrets=secrets)
        return encoded(EXECUTIONS_STATUS, body)

    @answers(EXECUTIONS_EVENTS)
    async def on_events(self, request: EventsPage) -> Encoded[EventsAnswer] | Refusal:
        """Return a page of events, newest first."""
        state = await self._find_log(request.execution_id)
        if state is None:
            return _unknown(request.execution_id)
        bodies = Bodies(most=self._settings.detail_bytes_max)
        events, pagination = await self._page(state, request, bodies)
        body = events_answer(state, events=events, pagination=pagination)
        return encoded(EXECUTIONS_EVENTS, body)

    @answers(EXECUTIONS_CANCELLED)
    async def on_cancelled(self, request: ExecutionName) -> CancellationCheck:
        """Return whether an execution was cancelled; an unknown execution was not."""
        state = await self._find_log(request.execution_id)
        status = None if state is None else state.status
        is_cancelled = status == ExecutionStatus.CANCELLED
        return CancellationCheck(
            execution_id=request.execution_id,
            is_cancelled=is_cancelled,
            cancelled=is_cancelled,
            completed=status == ExecutionStatus.COMPLETED,
            failed=status == ExecutionStatus.FAILED,
            status=status,
        )

    @answers(EXECUTIONS_EXISTS)
    async def on_exists(self, request: ExecutionName) -> ExecutionExists:
        """Return whether an execution was started, and its number of first commands (W5)."""
        state = await self._store.find_state(request.execution_id)
        if state is None:
            return ExecutionExists(exists=False, status=None, commands_generated=0)
        expected = await self._store.read_expected_iterations(request.execution_id)
        commands = 1 if expected is None else expected
        return ExecutionExists(
            exists=True,
            status=state.status,
            commands_generated=commands,
            path=state.path,
            parent_execution_id=state.parent_execution_id,
            origin_execution_ids=await self._store.read_origins(request.execution_id),
        )

    @answers(EXECUTIONS_STATES)
    async def on_states(self, request: ExecutionNames) -> ExecutionStates:
        """Return statuses by id, of the state rows that there are."""
        found = await self._store.list_statuses(request.execution_ids)
        return ExecutionStates(states={str(one): status for one, status in found.items()})

    @answers(EXECUTIONS_ORIGIN)
    async def on_origin(self, request: ExecutionName) -> ExecutionOrigin | Refusal:
        """Return catalog entry and workload of an execution, unmasked: for services only."""
        state = await self._store.find_state(request.execution_id)
        if state is None:
            return _unknown(request.execution_id)
        workload, pool = await self._store.read_origin(state.execution_id)
        return ExecutionOrigin(catalog_id=state.catalog_id, workload=workload, execution_pool=pool)

    @answers(EXECUTIONS_TAIL)
    async def on_tail(self, request: TailRequest) -> Encoded[ExecutionTail] | Refusal:
        """Return events after a position or an event, ascending, and the end of the log."""
        execution_id, after = request.execution_id, request.after_position
        # The state is read first, so that its position is never past the rows.
        state = await self._store.find_state(execution_id)
        if state is None:
            return _unknown(execution_id)
        if request.after_event_id is not None:
            after = await self._store.find_position(
                execution_id, event_id=request.after_event_id, rounding=_ROUNDING
            )
        rows = await self._store.read_after(
            execution_id,
            position=after,
            limit=min(request.limit, self._settings.tail_events_max),
            bodies=Bodies(most=self._settings.detail_bytes_max),
        )
        events = await self._shown(state, rows)
        body: JsonObject = {
            "events": events,
            "status": state.status,
            "position": state.position,
            "after_position": after,
            "has_secrets": bool(await self._secrets.of(execution_id)),
        }
        return encoded(EXECUTIONS_TAIL, body)

    @answers(COMMAND_GET)
    async def on_command(self, request: CommandName) -> CommandAnswer | Refusal:
        """Return a command as issued, unmasked: its reader is a worker."""
        command = await self._store.find_command(
            request.event_id, execution_id=request.execution_id
        )
        return command or Refusal(404, f"command.issued event not found: {request.event_id}")

    @answers(COMMAND_STANDING)
    async def on_standing(self, request: CommandName) -> CommandStanding | Refusal:
        """Return whether a command is still open, and the path of its execution."""
        standing = await self._store.find_standing(
            request.event_id, execution_id=request.execution_id
        )
        return standing or Refusal(404, f"command.issued event not found: {request.event_id}")

    @answers(EVENT_RESULT)
    async def on_event_result(self, request: EventName) -> EventResult | Refusal:
        """Return the result of an event, secrets masked."""
        event = await self._store.find_event(request.event_id)
        if event is None:
            return Refusal(404, f"Event not found: {request.event_id}")
        secrets = await self._secrets.of(int(event.execution_id))
        error = None if event.error is None else without(event.error, secrets)
        shown = {"result": masked(event.result, secrets), "error": error}
        return event.model_copy(update=shown)

    @answers(EVENTS_BATCH)
    async def on_batch(self, request: BatchName) -> BatchStatus | Refusal:
        """Return the state of a batch, named by one of its events; batches are committed whole."""
        request_id = request.request_id
        event = await self._store.find_event(request_id)
        if event is None:
            return Refusal(404, f"Batch request not found: {request_id}")
        key = await self._store.find_batch_key(int(event.execution_id), event_id=request_id)
        return BatchStatus(
            request_id=str(request_id),
            execution_id=str(event.execution_id),
            state="completed",
            status="COMPLETED",
            error_code=None,
            message=None,
            commands_generated=0,
            idempotency_key=key,
            updated_at=event.created_at,
        )

    @answers(EXECUTIONS_STUCK)
    async def on_stuck(self, request: StuckRequest) -> StuckExecutions:
        """List executions that run for longer than they should, oldest first."""
        ids = await self._store.find_stuck(
            older_than_minutes=request.older_than_minutes, limit=request.limit
        )
        return StuckExecutions(execution_ids=ids)

    async def _find_log(self, execution_id: int) -> State | None:
        state = await self._store.find_state(execution_id)
        return state or await self._store.find_log(execution_id)

    def _bodies(self, request: DetailRequest) -> Bodies:
        return Bodies(
            most=self._settings.detail_bytes_max, has_commands=request.has_command_contexts
        )

    async def _newest(self, state: State, bodies: Bodies) -> tuple[Sequence[Json], JsonObject]:
        """Return the newest events in ascending order, and their page of the log."""
        limit = self._settings.detail_events_max
        rows = await self._store.read_after(
            state.execution_id,
            position=max(0, state.position - limit),
            limit=limit,
            bodies=bodies,
        )
        events = await self._shown(state, rows)
        return events, pagination_of(page=1, page_size=limit, total=state.position)

    async def _page(
        self, state: State, request: EventsPage, bodies: Bodies | None
    ) -> tuple[Sequence[Json], JsonObject]:
        """Return a page in descending order, without events if no bodies are wanted."""
        page, page_size, event_type = request.page, request.page_size, request.event_type
        since, step = request.since_event_id, request.step
        above = None if since is None else since - _ROUNDING
        total = state.position
        if above is not None or event_type is not None or step is not None:
            total = await self._store.count_page(
                state.execution_id, above_event_id=above, event_type=event_type, step=step
            )
        pagination = pagination_of(page=page, page_size=page_size, total=total)
        if bodies is None:
            return [], pagination
        rows = await self._store.read_page(
            state.execution_id,
            above_event_id=above,
            event_type=event_type,
            step=step,
            limit=page_size,
            offset=(page - 1) * page_size,
            bodies=bodies,
        )
        return await self._shown(state, rows), pagination

    async def _shown(self, state: State, rows: Sequence[LogRow]) -> list[Json]:
        """Build the events of an answer; large ones in a thread, one answer at a time."""
        secrets = await self._secrets.of(state.execution_id)
        build = partial(shown_events, rows, secrets=secrets, execution_id=state.execution_id)
        if sum(row.size for row in rows) <= _SMALL:
            return build()
        async with self._large_answers:
            return await asyncio.to_thread(build)


def _unknown(execution_id: int) -> Refusal:
    return Refusal(404, f"Execution not found: {execution_id}")
