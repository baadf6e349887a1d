"""A recorded run: its playbook, the rows of its log, and the facts that these come to."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from msgspec import convert
from noetl_contract.events import TERMINAL_TYPES, EventRow
from noetl_contract.ingress import (
    CancelMessage,
    EventsMessage,
    ExecuteMessage,
    FinalizeMessage,
    PauseMessage,
    Restart,
    ResumeMessage,
    SignalMessage,
    WireEvent,
)
from noetl_contract.json import Json, JsonObject
from noetl_engine.execution import Execution
from noetl_engine.inputs import (
    Claimed,
    Continued,
    DeadlinePassed,
    Facts,
    Input,
    ReminderDue,
    StepTimedOut,
    WaitDue,
)
from noetl_engine.outputs import Decision, NeedRows, OriginNeed
from noetl_engine.playbook import Playbook, parse_playbook

FOLDER = Path(__file__).parent
COLUMNS = [column.name for column in fields(EventRow)]
# What the engine itself writes; everything else comes from workers and people.
DECIDED = frozenset(
    {"step.enter", "step.exit", "step.skipped", "ctx.updated", "command.issued",
     "playbook_started", "playbook.completed", "playbook.failed", "wait.started",
     "execution.restored",
     "wait.reminder", "signal.received", "execution.paused", "execution.resumed"}
)  # fmt: skip
REPORTED = frozenset(
    {"command.started", "call.done", "call.error", "command.completed", "command.failed"}
)
OPENED = frozenset({"command.issued", "wait.started"})
WAITING = frozenset({"signal.received", "wait.reminder"})
# What ends a wait by its time.
TIMES = frozenset({"slept", "timeout", "wait_timeout"})
_NUMBER = re.compile(r"\d{7,}")


@dataclass(frozen=True)
class History:
    """Content of a file in this folder."""

    playbook: str
    rows: list[EventRow]
    result: JsonObject

    @property
    def execution_id(self) -> int:
        return self.rows[0].execution_id


def read(path: Path) -> History:
    """Read a file: the head, a row a line, the result."""
    head, *rows, tail = [json.loads(line) for line in path.read_text().splitlines()]
    return History(head["playbook"], [_row(row) for row in rows], tail["result"])


def write(path: Path, history: History) -> None:
    """Write a file that :func:`read` reads."""
    lines: list[Json] = [{"playbook": history.playbook}]
    for row in history.rows:
        values = {key: value for key, value in asdict(row).items() if value is not None}
        lines.append(values | {"created_at": row.created_at.isoformat()})
    lines.append({"result": history.result})
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _row(values: JsonObject) -> EventRow:
    moment = datetime.fromisoformat(values.pop("created_at")).astimezone(UTC)
    return EventRow(created_at=moment, **values)


def folded(rows: list[EventRow]) -> JsonObject:
    """Return the facts of a log, in words that outlive the engine's own format of its state."""
    execution = Execution.restore(rows[0].execution_id, None, rows)
    state = execution.state
    return {
        "status": str(execution.status),
        "error": execution.state.error,
        "position": execution.position,
        "path": execution.state.path,
        "progress": asdict(execution.progress),
        "steps": {name: str(step.phase) for name, step in state.steps.items()},
        "failed": list(state.failed),
        "open": sorted(command.step for command in state.commands.values()),
        "variables": {name: list(source) for name, source in state.variables.items()},
    }


class Replay:
    """Gives today's engine the recorded inputs, and takes down its decisions."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.playbook: Playbook = parse_playbook(history.playbook)
        self.execution = Execution.new(history.execution_id)
        self.rows: list[EventRow] = []
        self.recorded = _issued(history.rows)
        self.last_id = 10**9

    def run(self) -> list[EventRow]:
        """Every row that the engine writes today."""
        first = self.history.rows[0]
        told = (first.meta or {}).get("restart")
        self.put(
            ExecuteMessage(
                restart=None if told is None else Restart(execution_id=int(told["execution_id"])),
                execution_id=first.execution_id,
                catalog_id=first.catalog_id,
                path=first.context["path"],
                version=1,
                payload=first.context["workload"],
            ),
            first,
        )
        for row in self.history.rows:
            message = self.message(row)
            if message is not None:
                self.put(message, row)
        return self.rows

    def put(self, message: Input, row: EventRow) -> None:
        facts = Facts(now=row.created_at, new_id=self.new_id, workers=None)
        decision = self.decide(message, facts)
        self.rows += decision.events
        while decision.continue_later:
            decision = self.decide(Continued(), facts)
            self.rows += decision.events

    def decide(self, message: Input, facts: Facts) -> Decision:
        for _ in range(4):
            try:
                return self.execution.decide(self.playbook, message, facts)
            except NeedRows as need:
                if need.origin is not None:
                    self.read_origin(need.origin)
                    continue
                rows = [row for row in self.rows if row.position in need.positions]
                self.execution.provide(
                    rows, {key: _calls(self.rows, key) for key in need.iterations}
                )
        raise AssertionError("the engine keeps asking for rows")

    def read_origin(self, need: OriginNeed) -> None:
        """Give the rows that a restarted run needs of its origin, which is in this folder too."""
        rows = next(
            history.rows
            for history in map(read, sorted(FOLDER.glob("*.jsonl")))
            if history.execution_id == need.execution_id
        )
        if need.after is not None:
            self.execution.read_origin(rows, up_to=need.up_to)
            return
        ended = next(row for row in rows if row.event_type in TERMINAL_TYPES)
        state = Execution.restore(need.execution_id, None, rows).state
        self.execution.provide_origin(state, started=rows[0], ended=ended)

    def new_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def command(self, command_id: str) -> int:
        """The number today's command has, by its place among all that were issued."""
        place = self.recorded.index(int(command_id.split(":")[2]))
        issued = _issued(self.rows)
        return issued[place] if place < len(issued) else 0

    def message(self, row: EventRow) -> Input | None:  # noqa: PLR0911 -- one per type
        """Return the input from outside that became this row."""
        meta = row.meta or {}
        if "restored_from" in meta:
            return None
        by_engine = meta.get("emitted_by") == "orchestrator"
        if row.event_type in WAITING or (by_engine and meta.get("reason") in TIMES):
            return self.of_wait(row)
        match row.event_type:
            case "command.claimed":
                number = self.command(meta["command_id"])
                return Claimed(number, meta["worker_id"], None, final=True)
            case "call.error" if by_engine:
                return StepTimedOut(self.command(meta["command_id"]))
            case "playbook_cancelled":
                return CancelMessage(execution_id=row.execution_id, reason=meta.get("reason"))
            case "playbook_completed" | "playbook_failed":
                return convert(
                    {
                        "execution_id": row.execution_id,
                        "status": row.status,
                        "error": row.error,
                    },
                    FinalizeMessage,
                )
            case "playbook.failed" if meta.get("reason") == "deadline":
                return DeadlinePassed()
            case "execution.paused" | "execution.resumed":
                change = PauseMessage if row.event_type.endswith("paused") else ResumeMessage
                said = {name: meta.get(name) for name in ("reason", "actor")}
                return change(execution_id=row.execution_id, **said)
            case word if word in REPORTED and not by_engine:
                return EventsMessage(execution_id=row.execution_id, events=[self.event(row)])
            case _:
                return None

    def of_wait(self, row: EventRow) -> Input | None:
        """The signal, or the time that had come, which became this row."""
        said = (row.result or {}).get("context") or {}
        match row.event_type:
            case "signal.received":
                kept = (row.note or {}).get("kept") or {}
                return SignalMessage(
                    execution_id=row.execution_id,
                    name=said["signal"],
                    signal_id=said["signal_id"],
                    payload=said["payload"],
                    step=row.node_name,
                    iteration=kept.get("index"),
                    actor=said["actor"],
                )
            case "wait.reminder":
                return ReminderDue(self.command(said["command_id"]), said["number"] - 1)
            case "call.done" | "call.error":
                return WaitDue(self.command(said["command_id"]))
            case _:
                return None

    def event(self, row: EventRow) -> WireEvent:
        """Return the event that a worker reported."""
        meta = row.meta or {}
        context = dict((row.result or {}).get("context") or {})
        step, number = str(context["command_id"]).split(":")[1:3]
        today = str(self.command(context["command_id"]))
        context["command_id"] = context["command_id"].replace(
            f":{step}:{number}", f":{step}:{today}"
        )
        return WireEvent(
            event_type=row.event_type,
            step=row.node_name or "",
            event_id=row.event_id,
            status=row.status,
            context=context,
            meta={key: meta[key] for key in ("attempts",) if key in meta},
            worker_id=meta.get("worker_id"),
            created_at=row.created_at,
        )


def _issued(rows: Iterable[EventRow]) -> list[int]:
    return [row.event_id for row in rows if row.event_type in OPENED]


def _calls(rows: Iterable[EventRow], key: tuple[str, int, int]) -> list[EventRow]:
    step, first, last = key
    return [
        row
        for row in rows
        if (row.event_type, row.node_name) == ("call.done", step) and first <= row.position <= last
    ]


def told(rows: list[EventRow]) -> list[str]:
    """Return the decided part of a log: types, steps, iterations and values; ids as places."""
    places = {str(row.event_id): f"#{row.position}" for row in rows}
    return [
        _NUMBER.sub(
            lambda match: places.get(match[0], match[0]),
            json.dumps(
                [
                    row.event_type,
                    row.node_name,
                    (row.meta or {}).get("iteration_index"),
                    row.status,
                    row.result,
                    None if row.event_type == "playbook_started" else row.context,
                ],
                sort_keys=True,
            ),
        )
        for row in rows
        if row.event_type in DECIDED
    ]
