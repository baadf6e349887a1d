"""Encode units of work as the parameters of one commit and as what is published of it."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import repeat

from noetl_contract.events import EventRow, ExecutionStatus
from noetl_contract.failures.cause import Cause
from noetl_contract.json import Json, JsonObject, embed, encode_text
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import pool_segment
from noetl_engine.outputs import Answer, CommandChange, NewCommand
from orjson import Fragment

from noetl_orchestrator import metrics
from noetl_orchestrator.catalog.pauses import Pauses
from noetl_orchestrator.log.commit_parameters import CommitParameters
from noetl_orchestrator.log.outbox_rows import ChildToCancel, OutboxRow, OutboxRows
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.inputs import TurnInput
from noetl_orchestrator.turn.unit_of_work import OPEN_STATES, UnitOfWork

CONTINUE_TIMER = "continue"
_EVENT_BYTES = 200
_CONTINUE_AFTER = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class HandedCommand:
    """A command that goes to a worker with the answer to an outcome.

    Attributes:
        reported: the command whose outcome it was.
        message: its notification, with the command inside.
    """

    event_id: int
    reported: int
    message: bytes


@dataclass(slots=True, eq=False)
class EncodedUnit:
    """A unit of work with the facts that are needed after its commit.

    Attributes:
        outbox: what is to be published, with rows in the outbox or without.
        event_bytes: size of the new events.
        snapshot_bytes: size of a new snapshot, if one was due.
        continue_timer: the timer that lets the execution go on, if it has to.
        handed: commands that go to workers with the answers to these outcomes.
    """

    unit: UnitOfWork
    outbox: list[OutboxRow]
    event_bytes: int
    snapshot_bytes: int | None
    continue_timer: int | None
    handed: Mapping[TurnInput, HandedCommand]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encode units of work; an error here concerns one execution only."""

    outbox_rows: OutboxRows
    pauses: Pauses
    new_id: Callable[[], int]
    settings: Settings

    def encode(
        self,
        unit: UnitOfWork,
        commit: CommitParameters,
        *,
        now: datetime,
        children: Iterable[ChildToCancel] = (),
    ) -> EncodedUnit:
        """Add the rows of a unit of work to a commit.

        Raises:
            TypeError, ValueError: a value is not JSON.
        """
        rows, execution_id, spans = unit.rows, unit.execution_id, unit.spans
        move = _state_row(unit, now=now)
        (commit.moves if unit.start is None else commit.begins).append(move)
        self._shorten_leases(unit)
        outbox: list[OutboxRow] = []
        trace = unit.trace if spans is None else spans.context
        event_bytes = self._add_events(commit, outbox, rows.events, trace=trace)
        _add_chain(move, unit)
        commit.posted += [
            {"execution_id": execution_id, "event_id": event_id} for event_id in rows.posted_ids
        ]
        handed = self._add_commands(commit, outbox, unit, now=now)
        commit.changes += [
            _change_row(unit, change)
            for event_id, change in rows.changes.items()
            if event_id not in rows.commands
        ]
        commit.timers_done += rows.timers_done
        for key, answer in rows.request_keys:
            row = {"scope": key.scope, "key": key.key, "answer": embed(answer)}
            commit.keys.append({"execution_id": execution_id, **row})
        outbox += self.cancels(execution_id, children)
        outbox += self._followups(unit)
        commit.outbox += [row.columns() for row in outbox if row.is_stored]
        return EncodedUnit(
            unit,
            outbox,
            event_bytes,
            self._add_snapshot(commit, unit, event_bytes, move),
            self._add_timers(commit, unit, now=now),
            handed,
        )

    def _add_commands(
        self, commit: CommitParameters, outbox: list[OutboxRow], unit: UnitOfWork, *, now: datetime
    ) -> dict[TurnInput, HandedCommand]:
        """Add new commands; return those that go to workers with an answer, and to no queue."""
        spans = unit.spans
        answers_bring_it = spans is None and self.settings.takes("next-command")
        wishes = unit.wishes() if answers_bring_it else deque()
        handed: dict[TurnInput, HandedCommand] = {}
        for command in unit.rows.commands.values():
            change = unit.rows.changes.get(command.event_id)
            row = _command_row(unit, command, change)
            commit.commands.append(row)
            is_open = change is None or change.status in OPEN_STATES
            if not is_open or self.pauses.withholds(path=unit.path, pool=_pool_of(command)):
                continue
            notification = self.outbox_rows.notification(
                unit.execution_id,
                command,
                now=now,
                trace=None if spans is None else spans.of_command(command),
            )
            is_read = bool(wishes) and (not notification.is_named or wishes[0][0].takes_named)
            if is_read and notification.inlined is not None and change is None:
                wish, reported = wishes.popleft()
                handed[wish] = HandedCommand(command.event_id, reported, notification.inlined)
                row["handed_for"] = reported
                row["handed_seconds"] = self.settings.fast_path_seconds
            else:
                outbox.append(notification.row(outbox_id=self.new_id()))
        return handed

    def cancels(self, owner: int, children: Iterable[ChildToCancel]) -> list[OutboxRow]:
        """Return outbox rows that cancel children of an ended execution."""
        return [
            self.outbox_rows.cancel_row(child, owner=owner, outbox_id=self.new_id())
            for child in children
        ]

    def _followups(self, unit: UnitOfWork) -> list[OutboxRow]:
        """Return outbox rows that start what the end of an execution asks for."""
        end = unit.end
        if end is None:
            return []
        return [
            self.outbox_rows.followup_row(
                one,
                origin=unit.execution_id,
                event_id=end.event_id,
                execution_id=self._id_here(),
                outbox_id=self.new_id(),
            )
            for one in unit.followups
        ]

    def _id_here(self) -> int:
        """Return an id of this shard, where the family of the ended execution is counted."""
        while True:
            minted = self.new_id()
            if shard_for(minted, shard_count=self.settings.shard_count) == (
                self.settings.shard_index
            ):
                return minted

    def _shorten_leases(self, unit: UnitOfWork) -> None:
        """End the lease of a claim when its command must have started."""
        grace = timedelta(seconds=self.settings.command_start_grace_seconds)
        for change in unit.rows.changes.values():
            if change.status == "CLAIMED" and change.claimed_at and change.lease_until:
                change.lease_until = min(change.lease_until, change.claimed_at + grace)

    def _add_events(
        self,
        commit: CommitParameters,
        outbox: list[OutboxRow],
        rows: Sequence[EventRow],
        *,
        trace: Json,
    ) -> int:
        """Add the events of an execution and one outbox row for all of them; return their size."""
        if not rows:
            return 0
        columns = [_json_columns(row) for row in rows]
        size = sum(map(_add_event, repeat(commit), rows, columns))
        outbox.append(
            self.outbox_rows.commit_row(rows, columns, outbox_id=self.new_id(), trace=trace)
        )
        if not self.settings.outbox_relay_events:
            outbox += [self.outbox_rows.event_row(row, outbox_id=self.new_id()) for row in rows]
        return size

    def _add_snapshot(
        self, commit: CommitParameters, unit: UnitOfWork, event_bytes: int, move: JsonObject
    ) -> int | None:
        """Add a snapshot after enough events, if they are larger than the last one (W11)."""
        entry = unit.entry
        position = entry.execution.position
        if (
            position - entry.snapshot_position < self.settings.snapshot_min_events
            or entry.tail_bytes + event_bytes < entry.snapshot_bytes
        ):
            return None
        snapshot = entry.execution.snapshot()
        move["snapshot_position"] = position
        commit.snapshots.append((unit.execution_id, position, snapshot))
        return len(snapshot)

    def _add_timers(
        self, commit: CommitParameters, unit: UnitOfWork, *, now: datetime
    ) -> int | None:
        """Add timers; return that of an execution that goes on later."""
        timers: list[tuple[int, datetime, str, Json]] = [
            (timer.timer_id, timer.due_at, timer.kind, embed(timer.payload))
            for timer in unit.rows.timers
        ]
        continue_timer = None
        if unit.continues_later and unit.end is None:
            continue_timer = self.new_id()
            # Later than the turn that continues at once; the timer is for a process that dies.
            timers.append((continue_timer, now + _CONTINUE_AFTER, CONTINUE_TIMER, {}))
        commit.timers += [
            {
                "timer_id": timer_id,
                "execution_id": unit.execution_id,
                "due_at": due_at,
                "kind": kind,
                "payload": payload,
            }
            for timer_id, due_at, kind, payload in timers
        ]
        return continue_timer


def _json_columns(row: EventRow) -> dict[str, str | None]:
    return {
        "context": encode_text(row.context),
        "result": encode_text(row.result),
        "meta": encode_text(row.meta),
    }


def _add_event(commit: CommitParameters, row: EventRow, texts: Mapping[str, str | None]) -> int:
    """Add an event; return its size."""
    note = encode_text(row.note)
    commit.events.append(
        (
            row.execution_id,
            row.catalog_id,
            row.event_id,
            row.parent_event_id,
            row.parent_execution_id,
            row.created_at,
            row.event_type,
            row.node_id,
            row.node_name,
            row.node_type,
            row.status,
            *texts.values(),
            row.error,
            row.worker_id,
            row.position,
            note,
        )
    )
    return _EVENT_BYTES + sum(len(text) for text in (*texts.values(), note) if text)


def _state_row(unit: UnitOfWork, *, now: datetime) -> JsonObject:
    execution = unit.entry.execution
    progress = execution.progress
    status = execution.status
    end = unit.end
    row: JsonObject = {
        "execution_id": unit.execution_id,
        "expected": unit.expected,
        "position": execution.position,
        "status": status,
        "ended_at": end.at if end is not None and status is not ExecutionStatus.RUNNING else None,
        "error": None if end is None else end.error,
        "total_steps": progress.total_steps,
        "completed_steps": progress.completed_steps,
        "running_steps": progress.running_steps,
        "failed_steps": progress.failed_steps,
        "soft_errors": progress.soft_errors,
        "current_step": progress.current_step,
        "cause": _cause(unit.cause),
        "soft_error": _cause(unit.soft_error),
    }
    if unit.start is not None:
        start = unit.start
        row |= {
            "catalog_id": start.catalog_id,
            "path": start.path,
            "version": start.version,
            "parent_execution_id": start.parent_execution_id,
            "started_at": now,
            "deadline": unit.deadline,
        }
    return row


def _add_chain(move: JsonObject, unit: UnitOfWork) -> None:
    """Add the digest of the log with the new events to the state row."""
    unit.entry.extend_chain(unit.rows.events)
    chain = unit.entry.chain
    if chain is not None:
        move |= {"digest_position": chain.position, "digest": chain.digest.hex()}


def _cause(cause: Cause | None) -> Json:
    return None if cause is None else cause.model_dump(exclude_none=True)


def _command_row(unit: UnitOfWork, command: NewCommand, change: CommandChange | None) -> JsonObject:
    row: JsonObject = {
        "event_id": command.event_id,
        "execution_id": unit.execution_id,
        "catalog_id": unit.entry.catalog_id,
        "parent_execution_id": unit.entry.parent_execution_id,
        "step_name": command.step,
        "tool_kind": command.tool_kind,
        "status": "PENDING",
        "attempt": 1,
        "holds": 0,
        "iter_index": command.iteration_index,
        "meta": embed(command.meta),
        "latest_event_id": command.event_id,
        "pool": _pool_of(command),
    }
    if change is None:
        return row
    changed = _change_row(unit, change)
    return row | {**changed, "latest_event_id": change.result_event_id or command.event_id}


def _pool_of(command: NewCommand) -> str:
    return pool_segment(execution_pool=command.pool, playbook_path=None)


def _change_row(unit: UnitOfWork, change: CommandChange) -> JsonObject:
    return {
        "execution_id": unit.execution_id,
        "event_id": change.event_id,
        "status": change.status,
        "worker_id": change.worker_id,
        "instance": change.instance,
        "attempt": change.attempts + 1,
        "holds": change.holds,
        "claimed_at": change.claimed_at,
        "started_at": change.started_at,
        "completed_at": change.ended_at,
        "lease_until": change.lease_until if change.status in OPEN_STATES else None,
        "error": change.error,
        "latest_event_id": change.result_event_id,
    }


async def answer_all(unit: UnitOfWork, handed: Mapping[TurnInput, HandedCommand]) -> None:
    """Answer the callers of a unit; commands go with the answers to the outcomes they follow."""
    for turn_input, answer in unit.answers:
        if isinstance(answer.body, dict) and answer.body.get("status") == "late":
            metrics.LATE.labels(answer.body.get("reason", "taken")).inc()
        command = handed.get(turn_input)
        told = answer
        if command is not None and isinstance(answer.body, dict):
            body = {**answer.body, "next": Fragment(command.message)}
            told = Answer(answer.status, body, answer.error, answer.detail)
        await turn_input.caller.answered(told)
