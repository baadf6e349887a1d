"""Encode units of work as the parameters of one commit, and choose what follows it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from noetl_contract.events import ExecutionStatus
from noetl_contract.failures.cause import Cause
from noetl_contract.json import Json, JsonObject
from noetl_engine.outputs import NewTimer

from noetl_orchestrator.log.commit_parameters import CommitParameters
from noetl_orchestrator.publishing.effects import Choice
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.unit_of_work import UnitOfWork, Written

CONTINUE_TIMER = "continue"
_CONTINUE_AFTER = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encode units of work; an error here concerns one execution only."""

    choice: Choice
    new_id: Callable[[], int]
    settings: Settings

    def encode(self, unit: UnitOfWork, commit: CommitParameters, *, now: datetime) -> None:
        """Add the rows of a unit of work to a commit.

        Raises:
            TypeError, ValueError: a value is not JSON.
        """
        rows, effects = unit.rows, unit.effects
        move = _state_row(unit, now=now)
        (commit.moves if unit.start is None else commit.begins).append(move)
        self._shorten_leases(unit)
        texts, event_bytes = commit.add_events(rows.events)
        _add_chain(move, unit)
        self.choice.choose(
            effects,
            rows,
            texts,
            execution=unit.entry.execution,
            spans=unit.spans,
            now=now,
        )
        owner: JsonObject = {
            "execution_id": unit.execution_id,
            "catalog_id": unit.entry.catalog_id,
            "parent_execution_id": unit.entry.parent_execution_id,
        }
        seconds = self.settings.fast_path_seconds
        handed: dict[int, JsonObject] = {
            one.event_id: {"handed_for": one.reported, "handed_seconds": seconds}
            for one in effects.handed.values()
        }
        timers, continue_timer = list(rows.timers), None
        if unit.continues_later and unit.end is None:
            continue_timer = self.new_id()
            # Later than the turn that continues at once; the timer is for a process that dies.
            timers.append(NewTimer(continue_timer, now + _CONTINUE_AFTER, CONTINUE_TIMER, {}))
        commit.add_rows(rows, owner, handed, timers)
        commit.outbox += [row.columns() for row in effects.outbox if row.is_stored]
        snapshot_bytes = self._add_snapshot(commit, unit, event_bytes, move)
        unit.written = Written(event_bytes, snapshot_bytes, continue_timer)

    def _shorten_leases(self, unit: UnitOfWork) -> None:
        """End the lease of a claim when its command must have started."""
        grace = timedelta(seconds=self.settings.command_start_grace_seconds)
        for change in unit.rows.changes.values():
            if change.status == "CLAIMED" and change.claimed_at and change.lease_until:
                change.lease_until = min(change.lease_until, change.claimed_at + grace)

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
