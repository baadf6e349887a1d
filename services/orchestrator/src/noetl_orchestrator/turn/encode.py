"""Turns staged decisions into the parameters of one commit and the hint that follows it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from noetl_contract.events import EventRow, ExecutionStatus
from noetl_contract.json import Json, JsonObject, embed, encode_text
from noetl_contract.subjects import pool_segment
from noetl_engine.outputs import CommandChange, NewCommand

from noetl_orchestrator.log.commit_parameters import Columns, CommitParameters
from noetl_orchestrator.log.outbox_rows import Announcer, ChildToCancel, OutboxRow
from noetl_orchestrator.turn.unit_of_work import OPEN_STATES, Staged

CONTINUE_TIMER = "continue"
_EVENT_COLUMNS = 18
_OUTBOX_COLUMNS = 8
_EVENT_BYTES = 200
_CONTINUE_AFTER = timedelta(seconds=5)


@dataclass(slots=True, eq=False)
class Encoded:
    """One execution's share of a commit.

    Attributes:
        move: the row of ``execution_state``, moved or begun.
        hints: the outbox rows as the hint carries them.
        snapshot: bytes of a new snapshot, if one is due.
        event_bytes: size of the new events.
    """

    staged: Staged
    move: JsonObject
    events: list[tuple[Json, ...]] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)
    hints: list[bytes] = field(default_factory=list)
    snapshot: bytes | None = None
    event_bytes: int = 0
    continue_timer: int | None = None


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encodes one execution's decisions; what fails here fails for this execution only.

    Attributes:
        snapshot_min_events: events after which a snapshot is written, if their bytes outgrew
            the last one (W11).
        start_grace_seconds: a claim is looked at when it should have started.
    """

    announcer: Announcer
    new_id: Callable[[], int]
    snapshot_min_events: int
    start_grace_seconds: float

    def encode(
        self, staged: Staged, *, now: datetime, children: Iterable[ChildToCancel] = ()
    ) -> Encoded:
        """Return the share of an execution.

        Raises:
            TypeError, ValueError: something in it can't be written as JSON.
        """
        encoded = Encoded(staged, _state_row(staged, now=now))
        self._shorten_leases(staged)
        subject = self.announcer.event_subject(staged.execution_id)
        for row in staged.events:
            self._add_event(encoded, row, subject=subject)
        for command in staged.commands.values():
            change = staged.changes.get(command.event_id)
            if change is None or change.status in OPEN_STATES:
                encoded.outbox.append(
                    self.announcer.command(
                        staged.execution_id, command, outbox_id=self.new_id(), now=now
                    )
                )
        encoded.outbox += self.cancels(staged.execution_id, children)
        encoded.hints = [row.hint() for row in encoded.outbox]
        self._add_snapshot(encoded)
        if staged.continue_later and staged.ended_at is None:
            encoded.continue_timer = self.new_id()
        return encoded

    def cancels(self, owner: int, children: Iterable[ChildToCancel]) -> list[OutboxRow]:
        """Return what tells an ended execution's children that nobody waits any more."""
        return [
            self.announcer.cancel_of_child(child, owner=owner, outbox_id=self.new_id())
            for child in children
        ]

    def _shorten_leases(self, staged: Staged) -> None:
        grace = timedelta(seconds=self.start_grace_seconds)
        for change in staged.changes.values():
            if change.status == "CLAIMED" and change.claimed_at and change.lease_until:
                change.lease_until = min(change.lease_until, change.claimed_at + grace)

    def _add_event(self, encoded: Encoded, row: EventRow, *, subject: str) -> None:
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
            self.announcer.event(row, subject=subject, outbox_id=self.new_id(), texts=texts)
        )

    def _add_snapshot(self, encoded: Encoded) -> None:
        staged = encoded.staged
        entry = staged.entry
        tail_bytes = entry.tail_bytes + encoded.event_bytes
        position = entry.execution.position
        if (
            position - entry.snapshot_position >= self.snapshot_min_events
            and tail_bytes >= entry.snapshot_bytes
        ):
            encoded.snapshot = entry.execution.snapshot()
            encoded.move["snapshot_position"] = position


def _state_row(staged: Staged, *, now: datetime) -> JsonObject:
    execution = staged.entry.execution
    progress = execution.progress
    status = execution.status
    row: JsonObject = {
        "execution_id": staged.execution_id,
        "expected": staged.expected,
        "position": execution.position,
        "status": status,
        "ended_at": staged.ended_at if status is not ExecutionStatus.RUNNING else None,
        "error": staged.error,
        "total_steps": progress.total_steps,
        "completed_steps": progress.completed_steps,
        "running_steps": progress.running_steps,
        "failed_steps": progress.failed_steps,
        "soft_errors": progress.soft_errors,
        "current_step": progress.current_step,
    }
    start = staged.start
    if start is not None:
        row |= {
            "catalog_id": start.catalog_id,
            "path": start.path,
            "version": start.version,
            "parent_execution_id": start.parent_execution_id,
            "started_at": now,
            "deadline": staged.deadline,
        }
    return row


def _command_row(staged: Staged, command: NewCommand) -> JsonObject:
    change = staged.changes.get(command.event_id)
    row: JsonObject = {
        "event_id": command.event_id,
        "execution_id": staged.execution_id,
        "catalog_id": staged.entry.catalog_id,
        "parent_execution_id": staged.entry.parent_execution_id,
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
    return row if change is None else row | _change_row(staged, change)


def _change_row(staged: Staged, change: CommandChange) -> JsonObject:
    return {
        "execution_id": staged.execution_id,
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


def _end_row(staged: Staged) -> JsonObject:
    return {
        "execution_id": staged.execution_id,
        "spared": list(staged.changes.keys() | staged.commands.keys()),
    }


def _timer_rows(encoded: Encoded, now: datetime) -> Iterable[JsonObject]:
    execution_id = encoded.staged.execution_id
    for timer in encoded.staged.timers:
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
            # Late enough for the turn that goes on at once; this row is for when it doesn't.
            "due_at": now + _CONTINUE_AFTER,
            "kind": CONTINUE_TIMER,
            "payload": {},
        }


def parameters(
    shares: Sequence[Encoded], checks: Sequence[Staged], *, now: datetime
) -> CommitParameters:
    """Join the shares of many executions."""
    shares = sorted(shares, key=lambda share: share.staged.execution_id)
    begun = [share for share in shares if share.staged.start is not None]
    moved = [share for share in shares if share.staged.start is None]
    snapshots = [share for share in shares if share.snapshot is not None]
    return CommitParameters(
        moves=[share.move for share in moved],
        begins=[share.move for share in begun],
        checks=[{"execution_id": s.execution_id, "expected": s.expected} for s in checks],
        posted=[
            {"execution_id": share.staged.execution_id, "event_id": event_id}
            for share in shares
            for event_id in share.staged.posted
        ],
        commands=[
            _command_row(share.staged, command)
            for share in shares
            for command in share.staged.commands.values()
        ],
        changes=[
            _change_row(share.staged, change)
            for share in shares
            for change in share.staged.changes.values()
            if change.event_id not in share.staged.commands
        ],
        ends=[_end_row(share.staged) for share in shares if share.staged.cancel_open],
        timers=[row for share in shares for row in _timer_rows(share, now)],
        timers_done=[
            timer_id
            for staged in (*(share.staged for share in shares), *checks)
            for timer_id in staged.timers_done
        ],
        snapshot_ids=[share.staged.execution_id for share in snapshots],
        snapshot_positions=[share.staged.entry.execution.position for share in snapshots],
        snapshots=[share.snapshot for share in snapshots if share.snapshot is not None],
        keys=[
            {
                "scope": row.key.scope,
                "key": row.key.key,
                "execution_id": share.staged.execution_id,
                "answer": embed(row.answer),
            }
            for share in shares
            for row in share.staged.keys
        ],
        outbox=_columns(
            [row.stored() for share in shares for row in share.outbox], _OUTBOX_COLUMNS
        ),
        events=_columns([row for share in shares for row in share.events], _EVENT_COLUMNS),
    )


def _columns(rows: Sequence[tuple[Json, ...]], count: int) -> Columns:
    """Turn rows into columns, which is what the statement unnests."""
    return tuple(zip(*rows, strict=True)) if rows else ((),) * count
