"""Encode units of work as the parameters of one commit and as hints for the relay."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from noetl_contract.events import EventRow, ExecutionStatus
from noetl_contract.json import Json, JsonObject, embed, encode_text
from noetl_contract.subjects import pool_segment
from noetl_engine.outputs import CommandChange, NewCommand

from noetl_orchestrator.log.commit_parameters import Columns, CommitParameters
from noetl_orchestrator.log.outbox_rows import ChildToCancel, OutboxRow, OutboxRows
from noetl_orchestrator.turn.unit_of_work import OPEN_STATES, UnitOfWork

CONTINUE_TIMER = "continue"
_EVENT_COLUMNS = 18
_OUTBOX_COLUMNS = 8
_EVENT_BYTES = 200
_CONTINUE_AFTER = timedelta(seconds=5)


@dataclass(slots=True, eq=False)
class EncodedUnit:
    """The rows of one unit of work, as the commit takes them.

    Attributes:
        move: the row of ``execution_state``, moved or begun.
        hints: the outbox rows, encoded for the hint.
        snapshot: bytes of a new snapshot, if one is due.
        event_bytes: size of the new events.
    """

    unit: UnitOfWork
    move: JsonObject
    events: list[tuple[Json, ...]] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)
    hints: list[bytes] = field(default_factory=list)
    snapshot: bytes | None = None
    event_bytes: int = 0
    continue_timer: int | None = None


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encode units of work; an error here concerns one execution only.

    Attributes:
        snapshot_min_events: events after which a snapshot is written, if they are larger than
            the last one (W11).
        start_grace_seconds: time after a claim by which its command must have started.
    """

    outbox_rows: OutboxRows
    new_id: Callable[[], int]
    snapshot_min_events: int
    start_grace_seconds: float

    def encode(
        self, unit: UnitOfWork, *, now: datetime, children: Iterable[ChildToCancel] = ()
    ) -> EncodedUnit:
        """Encode a unit of work.

        Raises:
            TypeError, ValueError: a value is not JSON.
        """
        encoded = EncodedUnit(unit, _state_row(unit, now=now))
        self._shorten_leases(unit)
        subject = self.outbox_rows.event_subject(unit.execution_id)
        for row in unit.rows.events:
            self._add_event(encoded, row, subject=subject)
        for command in unit.rows.commands.values():
            change = unit.rows.changes.get(command.event_id)
            if change is None or change.status in OPEN_STATES:
                encoded.outbox.append(
                    self.outbox_rows.command_row(
                        unit.execution_id, command, outbox_id=self.new_id(), now=now
                    )
                )
        encoded.outbox += self.cancels(unit.execution_id, children)
        encoded.hints = [row.hint() for row in encoded.outbox]
        self._add_snapshot(encoded)
        if unit.continues_later and unit.end is None:
            encoded.continue_timer = self.new_id()
        return encoded

    def cancels(self, owner: int, children: Iterable[ChildToCancel]) -> list[OutboxRow]:
        """Return outbox rows that cancel children of an ended execution."""
        return [
            self.outbox_rows.cancel_row(child, owner=owner, outbox_id=self.new_id())
            for child in children
        ]

    def _shorten_leases(self, unit: UnitOfWork) -> None:
        grace = timedelta(seconds=self.start_grace_seconds)
        for change in unit.rows.changes.values():
            if change.status == "CLAIMED" and change.claimed_at and change.lease_until:
                change.lease_until = min(change.lease_until, change.claimed_at + grace)

    def _add_event(self, encoded: EncodedUnit, row: EventRow, *, subject: str) -> None:
        texts = {
            "context": encode_text(row.context),
            "result": encode_text(row.result),
            "meta": encode_text(row.meta),
        }
        note = encode_text(row.note)
        encoded.event_bytes += _EVENT_BYTES + len(note or "")
        encoded.event_bytes += sum(len(column) for column in texts.values() if column)
        encoded.events.append(
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
                texts["context"],
                texts["result"],
                texts["meta"],
                row.error,
                row.worker_id,
                row.position,
                note,
            )
        )
        encoded.outbox.append(
            self.outbox_rows.event_row(row, subject=subject, outbox_id=self.new_id(), texts=texts)
        )

    def _add_snapshot(self, encoded: EncodedUnit) -> None:
        unit = encoded.unit
        entry = unit.entry
        tail_bytes = entry.tail_bytes + encoded.event_bytes
        position = entry.execution.position
        if (
            position - entry.snapshot_position >= self.snapshot_min_events
            and tail_bytes >= entry.snapshot_bytes
        ):
            encoded.snapshot = entry.execution.snapshot()
            encoded.move["snapshot_position"] = position


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
    }
    if unit.start is not None:
        start = unit.start.message
        row |= {
            "catalog_id": start.catalog_id,
            "path": start.path,
            "version": start.version,
            "parent_execution_id": start.parent_execution_id,
            "started_at": now,
            "deadline": unit.start.deadline,
        }
    return row


def _command_row(unit: UnitOfWork, command: NewCommand) -> JsonObject:
    change = unit.rows.changes.get(command.event_id)
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
        "pool": pool_segment(execution_pool=command.pool, playbook_path=None),
    }
    return row if change is None else row | _change_row(unit, change)


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
    }


def _end_row(unit: UnitOfWork) -> JsonObject:
    return {
        "execution_id": unit.execution_id,
        "spared": list(unit.rows.changes.keys() | unit.rows.commands.keys()),
    }


def _timer_rows(encoded: EncodedUnit, now: datetime) -> Iterable[JsonObject]:
    execution_id = encoded.unit.execution_id
    for timer in encoded.unit.rows.timers:
        yield {
            "timer_id": timer.timer_id,
            "execution_id": execution_id,
            "due_at": timer.due_at,
            "kind": timer.kind,
            "payload": embed(timer.payload),
        }
    if encoded.continue_timer is not None:
        yield {
            "timer_id": encoded.continue_timer,
            "execution_id": execution_id,
            # Later than the turn that continues at once; the timer is for a process that dies.
            "due_at": now + _CONTINUE_AFTER,
            "kind": CONTINUE_TIMER,
            "payload": {},
        }


def commit_parameters(
    encoded_units: Sequence[EncodedUnit], checks: Sequence[UnitOfWork], *, now: datetime
) -> CommitParameters:
    """Join the rows of many executions."""
    encoded_units = sorted(encoded_units, key=lambda encoded: encoded.unit.execution_id)
    begun = [encoded for encoded in encoded_units if encoded.unit.start is not None]
    moved = [encoded for encoded in encoded_units if encoded.unit.start is None]
    snapshots = [encoded for encoded in encoded_units if encoded.snapshot is not None]
    return CommitParameters(
        moves=[encoded.move for encoded in moved],
        begins=[encoded.move for encoded in begun],
        checks=[{"execution_id": s.execution_id, "expected": s.expected} for s in checks],
        posted=[
            {"execution_id": encoded.unit.execution_id, "event_id": event_id}
            for encoded in encoded_units
            for event_id in encoded.unit.rows.posted_ids
        ],
        commands=[
            _command_row(encoded.unit, command)
            for encoded in encoded_units
            for command in encoded.unit.rows.commands.values()
        ],
        changes=[
            _change_row(encoded.unit, change)
            for encoded in encoded_units
            for change in encoded.unit.rows.changes.values()
            if change.event_id not in encoded.unit.rows.commands
        ],
        ends=[
            _end_row(encoded.unit)
            for encoded in encoded_units
            if encoded.unit.rows.cancels_open_commands
        ],
        timers=[row for encoded in encoded_units for row in _timer_rows(encoded, now)],
        timers_done=[
            timer_id
            for unit in (*(encoded.unit for encoded in encoded_units), *checks)
            for timer_id in unit.rows.timers_done
        ],
        snapshot_ids=[encoded.unit.execution_id for encoded in snapshots],
        snapshot_positions=[encoded.unit.entry.execution.position for encoded in snapshots],
        snapshots=[encoded.snapshot for encoded in snapshots if encoded.snapshot is not None],
        keys=[
            {
                "scope": row.key.scope,
                "key": row.key.key,
                "execution_id": encoded.unit.execution_id,
                "answer": embed(row.answer),
            }
            for encoded in encoded_units
            for row in encoded.unit.rows.request_keys
        ],
        outbox=_columns(
            [row.columns() for encoded in encoded_units for row in encoded.outbox], _OUTBOX_COLUMNS
        ),
        events=_columns(
            [row for encoded in encoded_units for row in encoded.events], _EVENT_COLUMNS
        ),
    )


def _columns(rows: Sequence[tuple[Json, ...]], count: int) -> Columns:
    """Turn rows into columns, because the statement unnests arrays."""
    return tuple(zip(*rows, strict=True)) if rows else ((),) * count
