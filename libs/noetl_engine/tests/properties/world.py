"""A world around one execution: broker, workers, timers and store with their faults."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from engine_driver import NOW, Run, command_outcome, command_start, posted
from noetl_contract.events import TERMINAL_TYPES, EventRow
from noetl_contract.ingress import CommandStartMessage, WireEvent
from noetl_engine.execution import Execution
from noetl_engine.inputs import (
    CallbackTimedOut,
    Claimed,
    CommandExhausted,
    Input,
    Limits,
    StepTimedOut,
    WorkerSeen,
)
from noetl_engine.lease import holder_gone
from noetl_engine.outputs import Answer, Decision, NeedRows, NewCommand, NewTimer
from noetl_engine.playbook import Playbook
from noetl_engine.state.model import CommandState
from noetl_engine.state.snapshot import dump_state

LIMITS = Limits(rounds_per_decision=40, commands_per_decision=3, callback_seconds=300)
OUTCOMES = ("ok", "ok", "ok", "ok", "soft", "fails", "updates")
MAX_DRAIN = 2000


@dataclass
class Entry:
    """One decided input, with all it was given."""

    message: Input
    now: datetime
    workers: dict[str, WorkerSeen]
    next_id: int


class Recorder(Run):
    """A run that remembers its inputs, to be played again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tape: list[Entry] = []
        self.depth = 0

    def decide(self, message: Input, **facts: Any) -> Decision:
        if not self.depth:  # a run continues a fan-out by itself
            self.tape.append(Entry(message, self.now, dict(self.workers), self.next_id))
        self.depth += 1
        try:
            return super().decide(message, **facts)
        finally:
            self.depth -= 1

    def decide_in_vain(self, message: Input) -> None:
        """A decision that can't be committed: its ids are used up, its object is worthless."""
        given = self.facts()
        for _ in range(3):
            try:
                self.execution.decide(self.playbook, message, given)
                break
            except NeedRows as need:
                self.answer(need)
        self.execution = self.restore()


@dataclass
class Job:
    """One run of a command by a worker: the reports that it still has to make."""

    worker: str
    messages: list[Input]
    is_ordered: bool


@dataclass
class World:
    """Everything outside of the engine."""

    playbook: Playbook
    notices: list[NewCommand] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    delivered: list[tuple[Input, Any]] = field(default_factory=list)
    timers: list[NewTimer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run = Recorder(self.playbook, limits=LIMITS, workers={})
        self.visits: Counter[str] = Counter()
        self.taken = 0
        self.number = 0
        self.run.start()
        self.collect()

    # --- what the engine's decisions set in motion ---

    def decide(self, message: Input) -> Decision:
        decision = self.run.decide(message)
        self.collect()
        return decision

    def collect(self) -> None:
        for decision in self.run.decisions[self.taken :]:
            self.notices += decision.commands
            self.timers += decision.timers
        self.taken = len(self.run.decisions)

    @property
    def state(self) -> Any:
        return self.run.execution.state

    @property
    def has_ended(self) -> bool:
        return bool(self.run.ended)

    def open_commands(self) -> list[CommandState]:
        return list(self.state.commands.values())

    # --- workers ---

    def beat(self) -> None:
        """Every living worker has just been heard."""
        for name, seen in self.run.workers.items():
            self.run.workers[name] = WorkerSeen(self.run.now, seen.process_since, seen.instance)

    def hire(self) -> str:
        self.number += 1
        name = f"w{self.number}"
        since = NOW - timedelta(days=1)
        self.run.workers[name] = WorkerSeen(self.run.now, since, f"{name}-process")
        return name

    def take_notice(self, index: int, *, over_http: bool, outcome: str) -> None:
        """A worker takes a command: over the fast path unseen, over HTTP with a claim."""
        command = self.notices.pop(index % len(self.notices))
        name = self.hire()
        held = self.state.commands.get(command.event_id)
        attempts = 0
        if over_http or (held is not None and held.holds):
            claim = Claimed(command.event_id, name, None if over_http else f"{name}-process")
            answer = self.decide(claim).answer
            if answer.status != 200 or answer.body is None or answer.body["status"] != "ok":
                return
            attempts = answer.body["meta"].get("attempts", 0)
        self.visits[command.step] += 1
        events = self.report(command, name, attempts, outcome)
        if over_http:
            messages: list[Input] = [posted((event,)) for event in events]
        else:
            hold = self.run.hold(command, name, attempts)
            messages = [
                command_start(hold, tuple(events[:1])),
                command_outcome(hold, tuple(events)),
            ]
        self.jobs.append(Job(name, messages, is_ordered=over_http))

    def report(
        self, command: NewCommand, name: str, attempts: int, outcome: str
    ) -> list[WireEvent]:
        run, visit = self.run, self.visits[command.step]
        sender = {"worker": name, "attempts": attempts}
        if outcome == "fails":
            return run.outcome_events(command, fails=True, **sender)
        data: Any = {"n": visit}
        if (command.meta.get("cursor") or {}).get("phase") == "claim":
            rows = [{"id": number} for number in range(2 if visit < 4 else 0)]
            data = {"rows": rows, "row_count": len(rows)}
        if outcome == "updates":
            data["_context_updates"] = {"ctx.a": visit, "iter.x": visit}
        status = "error" if outcome == "soft" else "success"
        events = run.outcome_events(command, data=data, status=status, **sender)
        if command.tool_kind == "container" and outcome != "soft":
            del events[1]  # the job runs on: no result yet
        return events

    # --- the wire ---

    def deliver(self, index: int, second: int = 0) -> None:
        """The next message of some job; the fast path's two may overtake each other."""
        job = self.jobs[index % len(self.jobs)]
        place = 0 if job.is_ordered else second % len(job.messages)
        message = job.messages.pop(place)
        if not job.messages:
            self.jobs.remove(job)
        decision = self.decide(message)
        self.delivered.append((message, decision.answer))

    def repeat(self, index: int) -> Decision | None:
        if not self.delivered:
            return None
        message, answer = self.delivered[index % len(self.delivered)]
        decision = self.decide(message)
        # A start may be answered later that its run is lost; what was reported stays reported.
        assert isinstance(message, CommandStartMessage) or verdict(answer) == verdict(
            decision.answer
        )
        return decision

    def lose_job(self, index: int) -> None:
        """A worker dies with everything it had not reported."""
        job = self.jobs.pop(index % len(self.jobs))
        self.run.workers.pop(job.worker, None)

    def sweep(self) -> None:
        """Send commands again that pend too long or lost their holder, or give them up."""
        on_the_way = {command.event_id for command in self.notices}
        for command in self.open_commands():
            if command.event_id in on_the_way or command.parked is not None:
                continue
            if not command.holds:
                self.notices.append(self.run.issued[command.event_id])
            elif holder_gone(command, self.run.facts()):
                if command.holds >= LIMITS.max_attempts:
                    self.decide(CommandExhausted(command.event_id, command.attempts))
                else:
                    self.notices.append(self.run.issued[command.event_id])

    def fire(self, timer: NewTimer) -> None:
        kinds: dict[str, type[StepTimedOut | CallbackTimedOut]] = {
            "step_timeout": StepTimedOut,
            "callback_timeout": CallbackTimedOut,
        }
        self.decide(kinds[timer.kind](int(timer.payload["event_id"])))

    def call_back(self, index: int) -> None:
        parked = sorted({one.step for one in self.open_commands() if one.parked is not None})
        if not parked:
            return
        step = parked[index % len(parked)]
        event = WireEvent(
            event_type="call.done",
            step=step,
            event_id=self.run.new_id(),
            status="COMPLETED",
            context={"terminal_state": "succeeded", "n": self.visits[step]},
            created_at=self.run.now,
        )
        self.decide(posted((event,)))

    def wait(self, seconds: float) -> None:
        self.run.wait(seconds)
        self.beat()

    def drain(self) -> None:
        """Let everything that can still happen happen, without further faults."""
        for _ in range(MAX_DRAIN):
            if self.has_ended:
                return
            if self.jobs:
                self.deliver(0)
            elif self.notices:
                self.take_notice(0, over_http=False, outcome="ok")
            elif any(command.parked is not None for command in self.open_commands()):
                self.call_back(0)
            elif self.open_commands():
                self.wait(100)
                self.sweep()
            else:
                raise AssertionError(f"nothing is open and it has not ended: {self.run.story}")
        raise AssertionError(f"it does not come to an end: {self.run.story[-2000:]}")


def verdict(answer: Answer) -> tuple[int, Any]:
    """Return the part of an answer that its receiver acts on; reasons of refusals may change."""
    return answer.status, (answer.body or {}).get("status")


def replayed(recorder: Recorder) -> Run:
    """The same inputs for a fresh execution that is never restored."""
    run = Run(recorder.playbook, limits=LIMITS)
    for entry in recorder.tape:
        run.now, run.workers, run.next_id = entry.now, entry.workers, entry.next_id
        run.decide(entry.message)
    return run


def dispatches(rows: list[EventRow]) -> Counter[tuple[Any, ...]]:
    """Count how often each piece of work was issued: a step's visit, an iteration, a claim."""
    visits: Counter[str] = Counter()
    found: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        if row.event_type == "step.enter":
            visits[row.node_name or ""] += 1
        elif row.event_type == "command.issued":
            cursor = row.meta.get("cursor") or {}
            place = (row.meta.get("iteration_index"), cursor.get("phase"), cursor.get("frame"))
            found[row.node_name, visits[row.node_name or ""], *place] += 1
    return found


def wrong_runs(rows: list[EventRow]) -> list[int]:
    """Positions of ends that counted although another run of the command had the hold."""
    holds: Counter[str] = Counter()
    found = []
    for row in rows:
        meta = row.meta or {}
        if row.event_type == "command.claimed":
            holds[meta["command_id"]] += 1
        elif row.event_type in {"command.completed", "command.failed"} and not meta.get("late"):
            command_id = (
                meta.get("command_id") or (row.context or row.result["context"])["command_id"]
            )
            if "attempts" in meta and meta["attempts"] != holds[command_id] - 1:
                found.append(row.position)
    return found


def check(world: World) -> None:
    """Check the invariants that hold at any moment."""
    run = world.run
    rows = run.rows
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    whole = Execution.restore(run.execution.state.execution_id, None, rows)
    assert whole.snapshot() == run.execution.snapshot() == dump_state(world.state)
    assert set(dispatches(rows).values()) <= {1}, run.story
    assert wrong_runs(rows) == [], run.story
    ends = [at for at, row in enumerate(rows) if row.event_type in TERMINAL_TYPES]
    assert len(ends) == len(run.ended) <= 1, run.story
    if ends:
        written = {row.event_type for row in rows[ends[0] + 1 :]}
        assert not written & {"step.enter", "command.issued", "ctx.updated", "step.skipped"}
