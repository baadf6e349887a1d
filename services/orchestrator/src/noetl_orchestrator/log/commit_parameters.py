"""New rows of executions, and the arguments of `commit_turn` ($1, $2 …) by name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from noetl_contract.events import EventRow
from noetl_contract.json import Json, JsonObject, embed, encode_text
from noetl_contract.subjects import pool_segment
from noetl_engine.outputs import CommandChange, NewCommand, NewTimer

from noetl_orchestrator.log.keys import RequestKey

OPEN_STATES = frozenset({"PENDING", "CLAIMED", "RUNNING"})
_RARE = ("checks", "timers", "timers_done", "keys", "snapshots")
SHORTER_FORMS = {"commit_handed": (*_RARE, "begins", "outbox"), "commit_steps": _RARE}
"""Parts that shorter forms of the statement lack; none of them looks for posted ids either."""
_TUPLES = {"snapshots": 3, "outbox": 8, "events": 18}
_EVENT_BYTES = 200

type EventTexts = Mapping[str, str | None]
"""The JSON columns of an event, encoded."""


@dataclass(slots=True, eq=False)
class NewRows:
    """Rows that a commit writes of one execution.

    Attributes:
        posted_ids: ids of new events that came from outside.
        request_keys: keys with the answers to give to repetitions.
    """

    events: list[EventRow] = field(default_factory=list)
    posted_ids: list[int] = field(default_factory=list)
    commands: dict[int, NewCommand] = field(default_factory=dict)
    changes: dict[int, CommandChange] = field(default_factory=dict)
    timers: list[NewTimer] = field(default_factory=list)
    timers_done: list[int] = field(default_factory=list)
    request_keys: list[tuple[RequestKey, Json]] = field(default_factory=list)


@dataclass(slots=True)
class CommitParameters:
    """The rows of ``commit_turn``, in its order; the driver writes dictionaries as JSON."""

    moves: list[Json] = field(default_factory=list)
    begins: list[Json] = field(default_factory=list)
    checks: list[Json] = field(default_factory=list)
    posted: list[Json] = field(default_factory=list)
    commands: list[Json] = field(default_factory=list)
    changes: list[Json] = field(default_factory=list)
    timers: list[Json] = field(default_factory=list)
    timers_done: list[int] = field(default_factory=list)
    keys: list[Json] = field(default_factory=list)
    snapshots: list[tuple[Json, ...]] = field(default_factory=list)
    outbox: list[tuple[Json, ...]] = field(default_factory=list)
    events: list[tuple[Json, ...]] = field(default_factory=list)

    def add_events(self, rows: Iterable[EventRow]) -> tuple[list[EventTexts], int]:
        """Add events; return their JSON columns and their size in bytes, roughly."""
        texts: list[EventTexts] = []
        size = 0
        for row in rows:
            found = {
                "context": encode_text(row.context),
                "result": encode_text(row.result),
                "meta": encode_text(row.meta),
            }
            note = encode_text(row.note)
            self.events.append(_event_columns(row, found, note))
            texts.append(found)
            size += _EVENT_BYTES + sum(len(text) for text in (*found.values(), note) if text)
        return texts, size

    def add_rows(
        self,
        rows: NewRows,
        owner: JsonObject,
        handed: Mapping[int, JsonObject],
        timers: Iterable[NewTimer],
    ) -> None:
        """Add the other rows of an execution.

        Args:
            rows: of the execution.
            owner: columns that all of its commands have.
            handed: by event id the columns of those that go to workers with answers.
            timers: new ones.
        """
        execution_id = owner["execution_id"]
        for event_id, command in rows.commands.items():
            row = _command_columns(owner, command, rows.changes.get(event_id))
            if event_id in handed:
                row |= handed[event_id]
            self.commands.append(row)
        self.changes += [
            {"execution_id": execution_id, **_change_columns(change)}
            for event_id, change in rows.changes.items()
            if event_id not in rows.commands
        ]
        self.posted += [
            {"execution_id": execution_id, "event_id": event_id} for event_id in rows.posted_ids
        ]
        self.timers_done += rows.timers_done
        self.timers += [
            {
                "timer_id": timer.timer_id,
                "execution_id": execution_id,
                "due_at": timer.due_at,
                "kind": timer.kind,
                "payload": embed(timer.payload),
            }
            for timer in timers
        ]
        self.keys += [
            {
                "execution_id": execution_id,
                "scope": key.scope,
                "key": key.key,
                "answer": embed(answer),
            }
            for key, answer in rows.request_keys
        ]

    @property
    def shorter_form(self) -> str | None:
        """The shortest form of the statement that writes all of it, if there is a shorter one."""
        for name, left_out in SHORTER_FORMS.items():
            if not any(getattr(self, one) for one in left_out):
                return name
        return None

    def arguments(self, form: str | None = None) -> list[object]:
        """Return the arguments of the statement, or of a shorter form of it.

        Those of some rows are columns, which it unnests.
        """
        left_out = () if form is None else ("posted", *SHORTER_FORMS[form])
        found: list[object] = []
        for name in _NAMES:
            if name in left_out:
                continue
            rows = getattr(self, name)
            width = _TUPLES.get(name)
            if width is None:
                found.append(rows)
            else:
                found += columns(rows, width)
        return found


_NAMES = tuple(one.name for one in fields(CommitParameters))


def columns(rows: Sequence[tuple[object, ...]], count: int) -> list[tuple[object, ...]]:
    """Turn rows into columns, because statements unnest arrays."""
    return list(zip(*rows, strict=True)) if rows else [()] * count


def pool_of(command: NewCommand) -> str:
    """Return the pool of a command as subjects name it."""
    return pool_segment(execution_pool=command.pool, playbook_path=None)


def _event_columns(row: EventRow, texts: EventTexts, note: str | None) -> tuple[Json, ...]:
    return (
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


def _command_columns(
    owner: JsonObject, command: NewCommand, change: CommandChange | None
) -> JsonObject:
    row: JsonObject = {
        **owner,
        "event_id": command.event_id,
        "step_name": command.step,
        "tool_kind": command.tool_kind,
        "status": "PENDING",
        "attempt": 1,
        "holds": 0,
        "iter_index": command.iteration_index,
        "meta": embed(command.meta),
        "latest_event_id": command.event_id,
        "pool": pool_of(command),
    }
    if change is None:
        return row
    latest = change.result_event_id or command.event_id
    return row | {**_change_columns(change), "latest_event_id": latest}


def _change_columns(change: CommandChange) -> JsonObject:
    return {
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
