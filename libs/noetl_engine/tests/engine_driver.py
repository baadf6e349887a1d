"""Plays outbox, worker and store for one execution; prints the log in the contract's notation."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from noetl_contract.events import TERMINAL_TYPES, EventRow
from noetl_contract.ingress import (
    CancelMessage,
    CommandOutcomeMessage,
    CommandStartMessage,
    EventsMessage,
    ExecuteMessage,
    FinalizeMessage,
    Hold,
    Restart,
    WireEvent,
)
from noetl_contract.json import encode
from noetl_contract.tools.results import Part, part_of
from noetl_engine.execution import Execution
from noetl_engine.inputs import Claimed, Continued, Facts, Input, Limits
from noetl_engine.outputs import Decision, NeedResults, NeedRows, NewCommand, OriginNeed
from noetl_engine.playbook.model import (
    Arc,
    Loop,
    LoopMode,
    Playbook,
    Router,
    RouterMode,
    Step,
    Tool,
)
from noetl_engine.renders import MoreWork
from noetl_engine.restart.origin import ORIGIN_TYPES

NOW = datetime(2026, 6, 14, 10, 0, 0, tzinfo=UTC)
EXECUTION_ID = 7000


def make_arc(target: str, when: Any = None, **fields: Any) -> Arc:
    guard = str(when).lower() if isinstance(when, bool) else when
    return Arc(target=target, when=guard, **fields)


def make_step(
    name: str,
    *arcs: Arc | str,
    mode: str = "exclusive",
    loop: Loop | None = None,
    tool: Any = None,
    **fields: Any,
) -> Step:
    made = tuple(arc if isinstance(arc, Arc) else make_arc(arc) for arc in arcs)
    router = Router(mode=RouterMode(mode), arcs=made) if made else None
    tool = tool or Tool(kind="python", config={"code": "result = 1"})
    return Step(name=name, tool=tool, next=router, loop=loop, **fields)


def make_loop(items: str | list[Any], mode: str = "sequential", **fields: Any) -> Loop:
    text = items if isinstance(items, str) else str(items).replace("'", '"')
    fields.setdefault("iterator", "item")
    return Loop(mode=LoopMode(mode), collection=text, **fields)


def make_playbook(*steps: Step, path: str = "tests/playbook", workload: Any = None) -> Playbook:
    return Playbook(
        name="playbook",
        path=path,
        steps={step.name: step for step in steps},
        workload=workload or {},
    )


def posted(events: Iterable[WireEvent], *, batch: bool = False) -> EventsMessage:
    return EventsMessage(execution_id=EXECUTION_ID, events=list(events), batch=batch)


def command_start(hold: Hold, events: Iterable[WireEvent]) -> CommandStartMessage:
    return CommandStartMessage(execution_id=EXECUTION_ID, hold=hold, events=list(events))


def command_outcome(hold: Hold, events: Iterable[WireEvent]) -> CommandOutcomeMessage:
    return CommandOutcomeMessage(execution_id=EXECUTION_ID, hold=hold, events=list(events))


def cancel(reason: str | None = None) -> CancelMessage:
    return CancelMessage(execution_id=EXECUTION_ID, reason=reason)


def finalize(status: Any, error: str | None = None) -> FinalizeMessage:
    return FinalizeMessage(execution_id=EXECUTION_ID, status=status, error=error)


@dataclass
class Run:
    """One execution with its whole log, as a store would hold it."""

    playbook: Playbook
    payload: dict[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    reload: Callable[[int], bool] = lambda _turn: False
    workers: Any = None
    goes_on: bool = True
    """Whether a fan-out that comes in parts is continued at once."""
    origin: "Run | None" = None
    """The run that this one goes on from."""
    documents: dict[str, Any] = field(default_factory=dict)
    """The result store, by references."""
    withheld: dict[str, str] = field(default_factory=dict)
    """Why other results can't be had."""
    origin_page: int = 7
    """Number of its rows that are read at once."""

    def __post_init__(self) -> None:
        self.execution = Execution.new(EXECUTION_ID)
        self.rows: list[EventRow] = []
        self.open: list[NewCommand] = []
        self.issued: dict[int, NewCommand] = {}
        self.log: list[str] = []
        self.decisions: list[Decision] = []
        self.next_id = 1000
        self.now = NOW
        self.snapshot: bytes | None = None
        self.snapshot_position = 0
        self.continues = 0
        self.more_work = 0
        self.ended: list[str] = []
        self.asked: list[dict[Any, bool]] = []

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def facts(self, **fields: Any) -> Facts:
        fields.setdefault("limits", self.limits)
        fields.setdefault("workers", self.workers)
        return Facts(now=self.now, new_id=self.new_id, **fields)

    def take_snapshot(self) -> None:
        self.snapshot = self.execution.snapshot()
        self.snapshot_position = self.execution.position

    def restore(self) -> Execution:
        tail = [row for row in self.rows if row.position > self.snapshot_position]
        return Execution.restore(EXECUTION_ID, self.snapshot, tail)

    def answer(self, need: NeedRows) -> None:
        if need.origin is not None:
            self.answer_of_origin(need.origin)
            return
        rows = [row for row in self.rows if row.position in need.positions]
        iterations = {
            (step, first, last): [
                row
                for row in self.rows
                if row.event_type == "call.done"
                and row.node_name == step
                and first <= row.position <= last
                and not (row.meta or {}).get("late")
            ]
            for step, first, last in need.iterations
        }
        self.execution.provide(rows, iterations)

    def answer_with_results(self, need: NeedResults) -> None:
        self.asked.append(need.results)
        read = {name: is_whole for asked in self.asked for name, is_whole in asked.items()}
        self.execution = self.restore()
        self.execution.provide_results(
            {name: self.part(name, read[name]) for name in read if name[0] in self.documents},
            {name: self.withheld[name[0]] for name in read if name[0] in self.withheld},
        )

    def part(self, name: Any, is_whole: bool) -> Part:  # noqa: FBT001 - as it was asked for
        """Return a part of a document as the result store answers for it."""
        ref, path = name
        most = 1 << 30 if is_whole else 64
        found = part_of(encode(self.documents[ref]), path, most=most)
        return Part.from_json(found.to_json())

    def keep(
        self,
        label: str,
        data: Any,
        *,
        size: int = 200_000,
        withheld: str = "",
        execution_id: int = EXECUTION_ID,
        **beside: Any,
    ) -> "Run":
        """Run one open command whose result goes to the result store, which may withhold it."""
        command = self.find(label)
        ref = f"noetl://execution/{execution_id}/result/{command.step}/{self.new_id()}"
        if withheld:
            self.withheld[ref] = withheld
        else:
            self.documents[ref] = {"status": "success", "data": data}
        said = {"kind": "result_ref", "ref": ref, "store": "db", "meta": {"bytes": size}}
        events = self.outcome_events(command, data={**beside, "_ref": ref})
        context = events[1].context
        context["result"]["reference"] = said
        self.open.remove(command)
        self.finish(command, events)
        return self

    def answer_of_origin(self, need: OriginNeed) -> None:
        origin = self.origin
        assert origin is not None
        if need.after is None:
            ended = [row for row in origin.rows if row.event_type in TERMINAL_TYPES]
            state = Execution.restore(EXECUTION_ID, None, origin.rows).state
            self.execution.provide_origin(
                state, started=origin.rows[0], ended=ended[0] if ended else None
            )
            return
        rows = [
            row
            for row in origin.rows
            if need.after < row.position <= need.up_to and row.event_type in ORIGIN_TYPES
        ][: self.origin_page]
        is_last = len(rows) < self.origin_page
        up_to = need.up_to if is_last else rows[-1].position
        self.execution.read_origin(rows, up_to=up_to)

    def decide(self, message: Input, **facts: Any) -> Decision:
        if self.reload(len(self.decisions)):
            self.execution = self.restore()
        given = self.facts(**facts)
        for _ in range(30 if self.origin is None else len(self.origin.rows) + 9):
            try:
                decision = self.execution.decide(self.playbook, message, given)
                break
            except NeedRows as need:
                self.answer(need)
            except MoreWork as more:
                # As the orchestrator does: it is read again, and decided in the next turn.
                self.more_work += 1
                self.execution = self.restore() if self.rows else Execution.new(EXECUTION_ID)
                given = self.facts(**facts, renders=more.renders)
            except NeedResults as results:
                self.answer_with_results(results)
        else:
            raise AssertionError("the engine keeps asking for rows or results")
        self.take(decision)
        return decision

    def take(self, decision: Decision) -> None:
        self.decisions.append(decision)
        for row in decision.events:
            assert row.position == len(self.rows) + 1
            self.rows.append(row)
        self.open += decision.commands
        self.issued |= {command.event_id: command for command in decision.commands}
        if decision.ended:
            self.ended.append(decision.ended)
            self.open.clear()
        self.log += notation(decision.events)
        if decision.continue_later and self.goes_on:
            self.continues += 1
            self.decide(Continued())

    def start(self, **fields: Any) -> "Run":
        self.decide(
            ExecuteMessage(
                execution_id=EXECUTION_ID,
                catalog_id=42,
                path="tests/playbook",
                version=3,
                payload=self.payload,
                **fields,
            )
        )
        return self

    def restart(self, playbook: Playbook | None = None, *, version: int = 3, **how: Any) -> "Run":
        """Go on from this run, which has ended."""
        again = Run(
            playbook or self.playbook,
            limits=self.limits,
            workers=self.workers,
            origin=self,
            reload=self.reload,
        )
        again.next_id = self.next_id + 1000
        again.decide(
            ExecuteMessage(
                execution_id=EXECUTION_ID,
                catalog_id=42,
                path="tests/playbook",
                version=version,
                restart=Restart(execution_id=EXECUTION_ID, **how),
            )
        )
        return again

    def label(self, command: NewCommand) -> str:
        index = command.iteration_index
        return command.step if index is None else f"{command.step}:i{index}"

    def find(self, label: str) -> NewCommand:
        return next(command for command in self.open if self.label(command) == label)

    def event(
        self,
        command: NewCommand,
        event_type: str,
        word: str,
        /,
        attempts: int = 0,
        worker: str = "w1",
        **context: Any,
    ) -> WireEvent:
        return WireEvent(
            event_type=event_type,
            step=command.step,
            event_id=self.new_id(),
            status=word,
            context={"command_id": command.command_id, **context},
            meta={"attempts": attempts},
            worker_id=worker,
            created_at=self.now,
        )

    def outcome_events(
        self,
        command: NewCommand,
        *,
        fails: bool = False,
        data: Any = None,
        status: str = "success",
        **sender: Any,
    ) -> list[WireEvent]:
        started = self.event(command, "command.started", "STARTED", **sender)
        if fails:
            error = f"{command.step} broke"
            return [
                started,
                self.event(command, "call.error", "FAILED", call_index=0, error=error, **sender),
                self.event(command, "command.failed", "FAILED", error=error, **sender),
            ]
        result = {"status": status, "context": {"status": status, "data": data}}
        return [
            started,
            self.event(command, "call.done", "COMPLETED", call_index=0, result=result, **sender),
            self.event(command, "command.completed", status, status=status, **sender),
        ]

    def hold(self, command: NewCommand, worker: str = "w1", attempts: int = 0) -> Hold:
        return Hold(
            event_id=command.event_id,
            command_id=command.command_id,
            step=command.step,
            attempts=attempts,
            worker_id=worker,
            instance=f"{worker}-process",
        )

    def work_start(self, command: NewCommand, started: WireEvent, **sender: Any) -> Decision:
        return self.decide(command_start(self.hold(command, **sender), (started,)))

    def finish(self, command: NewCommand, events: list[WireEvent], **sender: Any) -> Decision:
        return self.decide(command_outcome(self.hold(command, **sender), tuple(events)))

    def claim(
        self, command: NewCommand, worker: str, *, http: bool = False, **how: Any
    ) -> Decision:
        instance = None if http else f"{worker}-process"
        return self.decide(Claimed(command.event_id, worker, instance, **how))

    def work(
        self, label: str, *, fails: bool = False, data: Any = None, fast: bool = True
    ) -> "Run":
        """Run one open command to its end, as our worker or as the real one."""
        command = self.find(label)
        self.open.remove(command)
        events = self.outcome_events(command, fails=fails, data=data)
        self.log.append(f"{'F' if fails else 'W'}({label})")
        if fast:
            hold = self.hold(command)
            self.decide(command_start(hold, tuple(events[:1])))
            self.decide(command_outcome(hold, tuple(events)))
        else:
            self.decide(Claimed(command.event_id, "w1", None))
            for event in events:
                self.decide(posted((event,)))
        return self

    def work_all(self, *, data: Any = None, fails: Any = (), fast: bool = True) -> "Run":
        """Run all open commands, in order of issue."""
        while self.open:
            command = self.open[0]
            label = self.label(command)
            value = data(command) if callable(data) else data
            self.work(label, fails=label in fails, data=value, fast=fast)
        return self

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @property
    def story(self) -> str:
        return " ".join(self.log)

    def rows_of(self, event_type: str) -> list[EventRow]:
        return [row for row in self.rows if row.event_type == event_type]


def notation(rows: list[EventRow]) -> list[str]:
    """Return rows in the contract's notation; the four rows of a run are the worker's."""
    words = {"step.skipped": "skip", "step.exit": "exit", "playbook_started": "started"}
    told: list[str] = []
    for row in rows:
        context = (row.result or {}).get("context") or {}
        match row.event_type:
            case "step.enter":
                count = context.get("iterations_expected")
                told.append(f"enter {row.node_name}" + ("" if count is None else f"{{{count}}}"))
            case "command.issued":
                index = row.meta.get("iteration_index")
                suffix = "" if index is None else f":i{index}"
                told.append(f"I({row.node_name}{suffix})")
            case "step.skipped" | "step.exit":
                told.append(f"{words[row.event_type]} {row.node_name}")
            case "playbook_started":
                told.append("started")
            case "ctx.updated":
                told.append("set")
            case "command.claimed" | "command.started" | "call.done" | "call.error":
                pass
            case "command.completed" | "command.failed":
                pass
            case other:
                told.append(other)
    return told
