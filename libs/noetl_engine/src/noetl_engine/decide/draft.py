"""A decision being made: appended rows get a position and are folded at once."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from noetl_contract.events import EventRow, EventType
from noetl_contract.failures.cause import Cause
from noetl_contract.hints import EVERY_RUN
from noetl_contract.json import Json

from noetl_engine.commands.build import BuiltCommand, pool_of, with_plugins
from noetl_engine.commands.failing import fails_by_rule
from noetl_engine.commands.named_workload import carried_bytes, name_workload
from noetl_engine.commands.repeatable import is_repeatable
from noetl_engine.commands.results_for_worker import own_bytes
from noetl_engine.commands.waits import shown_wait, wait_of
from noetl_engine.decide.graph import Graph, graph_of
from noetl_engine.errors import EvaluateError
from noetl_engine.inputs import Facts
from noetl_engine.lease import NOBODY, change_of, given_back_note
from noetl_engine.outputs import CommandChange, Decision, NewCommand, NewTimer
from noetl_engine.playbook.model import Playbook
from noetl_engine.playbook.places import placed
from noetl_engine.playbook.waits import WaitConfig
from noetl_engine.renders import work_of_decision
from noetl_engine.state.context import Flat
from noetl_engine.state.failures import is_failure
from noetl_engine.state.memory import Memory, ends_run
from noetl_engine.state.model import CommandState, State
from noetl_engine.state.routing_changes import apply_operations
from noetl_engine.state.waiting import REMINDER_TIMER, WAIT_TIMER

BY_ENGINE = {"emitted_by": "orchestrator"}
PLAYBOOK_NODE = "playbook"

# More than any step writes, so that loops count too.
_EVENTS_PER_STEP = 10
# A fan-out goes on in the next decision after this part of the work of one.
_EARLY = 2


@dataclass(slots=True)
class Draft:
    """The rows, commands and timers that one input has caused so far.

    ``trigger`` is the row that becomes the parent of whatever the engine adds.
    """

    memory: Memory
    playbook: Playbook
    facts: Facts
    decision: Decision = field(default_factory=Decision)
    trigger: int = 0
    issued: int = 0
    """Commands issued so far (W9)."""
    began_waits: deque[int] = field(default_factory=deque)
    """Waits that this decision has begun while signals are kept that may end them."""
    _touched: dict[int, CommandState] = field(default_factory=dict)
    _endings: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    _recorded: set[int] = field(default_factory=set)
    """Commands that the origin has run: they are in the log alone."""
    _results: dict[int, int] = field(default_factory=dict)
    _weighed: BuiltCommand | None = None
    _built_bytes: int = 0
    """Of the configurations of commands, while results of the result store may be in them."""
    _ended_before: bool = False
    _failed_before: bool = False
    _soft_before: bool = False

    def __post_init__(self) -> None:
        state = self.memory.state
        self._ended_before = state.ended
        self._failed_before = bool(state.failed)
        self._soft_before = state.soft is not None

    @property
    def state(self) -> State:
        """The execution's state, rows of this draft included."""
        return self.memory.state

    @property
    def graph(self) -> Graph:
        """The playbook's graph."""
        return graph_of(self.playbook)

    def append(self, row: EventRow) -> EventRow:
        """Give a row its position, fold it and add it to the decision."""
        state = self.memory.state
        row.position = state.position + 1
        note = row.note if isinstance(row.note, dict) else {}
        command = state.commands.get(note["command"]) if "command" in note else None
        running = not state.ended
        if command is not None and fails_by_rule(self.playbook, state, command, row):
            row.note = {**note, "fails": True}
        self.memory.absorb(row)
        self.decision.events.append(row)
        if command is not None and running:
            if command.wait is None:
                self._touched[command.event_id] = command
            if ends_run(row):
                self.decision.timers_done += command.timers
                ended = "FAILED" if is_failure(row) else "COMPLETED"
                error = command.error if ended == "FAILED" else None
                self._endings[command.event_id] = (ended, error)
            elif command.call == row.position:
                self._results[command.event_id] = row.event_id
        return row

    def apply(self, op: list[Json]) -> None:
        """Note a change of the routing on the newest row, and make it."""
        row = self.decision.events[-1]
        note = dict(row.note or {})
        note["ops"] = [*note.get("ops", ()), op]
        row.note = note
        apply_operations(self.state, [op])
        self.memory.note_frames([op])

    def row(self, event_type: str, name: str | None, status: str, **columns: Json) -> EventRow:
        """Return a row, not appended yet; columns that are not given are the execution's."""
        state = self.state
        columns.setdefault("node_id", name)
        columns.setdefault("created_at", self.facts.now)
        columns.setdefault("catalog_id", state.catalog_id)
        columns.setdefault("parent_execution_id", state.parent_execution_id)
        if "event_id" not in columns:
            columns["event_id"] = self.facts.new_id()
        return EventRow(
            execution_id=state.execution_id,
            position=0,
            event_type=event_type,
            node_name=name,
            status=status,
            **columns,
        )

    def engine_row(
        self,
        event_type: EventType,
        name: str | None,
        status: str,
        context: Json = None,
        **columns: Json,
    ) -> EventRow:
        """Return a row the engine derives: parented on the trigger, ``result`` by the contract."""
        result: Json = {"status": status}
        if context:
            result["context"] = context
        columns.setdefault("meta", dict(BY_ENGINE))
        return self.row(
            event_type, name, status, result=result, parent_event_id=self.trigger, **columns
        )

    @property
    def is_taking_over(self) -> bool:
        """Whether steps are entered only: a restarted execution has not all results yet."""
        return self.state.take_over is not None

    def issue_recorded(self, built: BuiltCommand) -> CommandState:
        """Append the ``command.issued`` of a run that the origin has in its log."""
        row = self._append_issued(built, built.context)
        self._recorded.add(row.event_id)
        return self.state.commands[row.event_id]

    def issue(self, built: BuiltCommand) -> None:
        """Append the ``command.issued`` of a built command, or begin its wait."""
        if built.wait is not None:
            self._begin_wait(built, built.wait)
            return
        state = self.state
        built = with_plugins(built, state.plugins)
        short = name_workload(built.context, self.memory, self.facts)
        row = self._append_issued(built, built.context if short is None else short.context)
        self.issued += 1
        iteration = built.iteration
        self.decision.commands.append(
            NewCommand(
                event_id=row.event_id,
                command_id=row.meta["command_id"],
                step=built.step,
                tool_kind=built.tool_kind,
                pool=pool_of(self.playbook, state.pool),
                context=built.context,
                meta=row.meta,
                iteration_index=None if iteration is None else iteration.index,
                trace=state.trace,
                short=short,
            )
        )

    def _append_issued(self, built: BuiltCommand, context: Json) -> EventRow:
        state = self.state
        event_id = self.facts.new_id()
        meta = built.meta(
            execution_id=state.execution_id,
            catalog_id=state.catalog_id,
            event_id=event_id,
            trace=state.trace,
        )
        note = dict(built.note)
        if not is_repeatable(self.playbook, built, once=self.facts.limits.once):
            meta["repeatable"] = False
            note["once"] = True
        row = self.row(
            EventType.COMMAND_ISSUED,
            built.step,
            "PENDING",
            event_id=event_id,
            node_type=built.tool_kind,
            parent_event_id=self.trigger,
            context=context,
            meta=meta,
            note=note or None,
        )
        return self.append(row)

    def _begin_wait(self, built: BuiltCommand, plan: WaitConfig) -> None:
        """Append the ``wait.started`` of a step that the engine itself lets wait."""
        state, now = self.state, self.facts.now
        event_id = self.facts.new_id()
        ids = {"execution_id": state.execution_id, "catalog_id": state.catalog_id}
        meta = built.meta(event_id=event_id, trace=state.trace, **ids)
        for key in ("max_attempts", "attempt"):
            del meta[key]
        meta |= {"actionable": False, "informative": True}
        wait = wait_of(plan, now, step_seconds=built.timeout_seconds)
        if plan.remind_after is not None:
            wait.reminder = self.facts.new_id()
        row = self.row(
            EventType.WAIT_STARTED,
            built.step,
            "WAITING",
            event_id=event_id,
            node_type=plan.kind,
            parent_event_id=self.trigger,
            result={
                "status": "WAITING",
                "context": shown_wait(plan, wait, command_id=meta["command_id"], wait_id=event_id),
            },
            meta=meta,
            note={"wait": wait.as_note()},
        )
        self.append(row)
        self.issued += 1
        payload: Json = {"event_id": event_id, "step": built.step, "signal": plan.signal}
        # By the id of its timer an open wait is found.
        self.decision.timers.append(NewTimer(event_id, wait.due_at, WAIT_TIMER, payload))
        if wait.reminder is not None and plan.remind_after is not None:
            due_at = now + timedelta(seconds=plan.remind_after)
            payload = {"event_id": event_id, "number": 0}
            self.decision.timers.append(NewTimer(wait.reminder, due_at, REMINDER_TIMER, payload))
        if state.signals:
            self.began_waits.append(event_id)

    def begin_reminder(self, command: CommandState, *, seconds: float, number: int) -> int:
        """Set the timer of a wait's next reminder; return its id."""
        timer_id = self.facts.new_id()
        due_at = self.facts.now + timedelta(seconds=seconds)
        payload: Json = {"event_id": command.event_id, "number": number}
        self.decision.timers.append(NewTimer(timer_id, due_at, REMINDER_TIMER, payload))
        return timer_id

    def begin_hold(
        self,
        command: CommandState,
        *,
        worker_id: str,
        instance: str | None,
        reason: str | None = None,
        row: EventRow | None = None,
        error: str | None = None,
    ) -> None:
        """Append the ``command.claimed`` that sets the holder of a command, or takes it away."""
        meta: dict[str, Json] = {"command_id": command.command_id, "worker_id": worker_id}
        meta |= {"actionable": False, "informative": True}
        attempts = command.holds
        if attempts:
            meta |= {"attempts": attempts, "reclaimed": True, "reclaimed_reason": reason}
            meta["reclaimed_from_worker"] = command.worker_id
        if row is None:
            context: dict[str, Json] = {"command_id": command.command_id, "worker_id": worker_id}
            context |= {} if error is None else {"error": error}
            row = self.row(
                EventType.COMMAND_CLAIMED,
                command.step,
                "RUNNING",
                result={"status": "RUNNING", "context": context},
                meta=meta,
                worker_id=worker_id,
            )
        row.note = {
            **(row.note or {}),
            "command": command.event_id,
            "instance": instance,
            "attempts": attempts,
            "holds": attempts + 1,
            **given_back_note(command, reason),
        }
        self.append(row)
        if worker_id != NOBODY:
            self.begin_time_limit(command)

    def revoke(self, command: CommandState) -> None:
        """Note that the present run of a command is over, or that its container is to go."""
        if command.holds:
            attempts = command.attempts if command.parked is None else EVERY_RUN
            self.decision.over.append((command.event_id, attempts))

    def abandon(self, command: CommandState) -> None:
        """Note that a command ends without its worker, and that nothing awaits its children now."""
        self.revoke(command)
        if command.awaits and command.holds:
            self.decision.abandoned.append(command.event_id)

    def begin_time_limit(self, command: CommandState) -> None:
        """Set the timer of a step's ``spec.timeout``; it counts from the claim."""
        if command.timeout_seconds is not None and command.claimed_at is not None:
            due_at = command.claimed_at + timedelta(seconds=command.timeout_seconds)
            self._begin_timer(due_at, "step_timeout", command, holds=command.holds)

    def begin_deadline(self, seconds: float | None) -> dict[str, Json]:
        """Set the timer of an execution's deadline; return its part of the note of the start."""
        if seconds is None:
            return {}
        timer_id = self.facts.new_id()
        due_at = self.facts.now + timedelta(seconds=seconds)
        self.decision.timers.append(NewTimer(timer_id, due_at, "deadline", {}))
        return {"deadline": [timer_id, seconds]}

    def begin_wait(self, command: CommandState) -> None:
        """Set the timer of a parked command: a callback may never come."""
        due_at = self.facts.now + timedelta(seconds=self.callback_timeout(command))
        self._begin_timer(due_at, "callback_timeout", command)

    def _begin_timer(
        self, due_at: datetime, kind: str, command: CommandState, **payload: Json
    ) -> None:
        if not self.state.ended:
            payload = {"event_id": command.event_id, **payload}
            self.decision.timers.append(NewTimer(self.facts.new_id(), due_at, kind, payload))

    def callback_timeout(self, command: CommandState) -> float:
        """Return the timeout of a parked command: the setting, or longer if its tool asks so."""
        return max(self.facts.limits.callback_seconds, command.callback_seconds or 0.0)

    def room(self, flat: Flat, *, wanted: int) -> int:
        """Return the number of wanted commands that may still be issued, at least one (W9).

        Each carries the context, so a large one leaves room for few. A paused execution has none.
        """
        if self.state.paused:
            return 0
        if wanted <= 1:
            return 1
        limits = self.facts.limits
        size = carried_bytes(flat, self.memory, self.facts)
        by_bytes = limits.command_bytes_per_decision // max(size, 1)
        return max(1, min(wanted, limits.commands_per_decision - self.issued, by_bytes))

    def refuse_endless(self) -> None:
        """Refuse to issue more commands of an execution that has entered too many steps (W15).

        Iterations of loops are no steps, but they show as events.

        Raises:
            EvaluateError: The limit is reached.
        """
        most = self.facts.limits.steps_per_execution
        entered = sum(step.runs for step in self.state.steps.values())
        if entered >= most or self.state.position >= most * _EVENTS_PER_STEP:
            raise EvaluateError(
                f"the execution has entered {entered} steps and has {self.state.position} events; "
                f"the limit is {most} (NOETL_EXECUTION_STEPS_MAX)"
            )

    def is_full(self, built: Sequence[BuiltCommand]) -> bool:
        """Return whether further commands of a fan-out wait for the next decision (W9).

        Beside the work of templates, the results that were read for them count: each command has
        its own.
        """
        if not built:
            return False
        if self.has_worked_enough:
            return True
        newest = built[-1]
        if self.memory.values.stored.parts and newest is not self._weighed and newest.context:
            self._weighed = newest
            self._built_bytes += own_bytes(newest.context, self.memory.contexts.flat())
        return self._built_bytes > self.facts.limits.command_bytes_per_decision

    @property
    def has_worked_enough(self) -> bool:
        """Whether further commands of a fan-out wait for the next decision (W9).

        Templates that are worth much work for each command would hold up other executions.
        """
        return work_of_decision() > self.facts.limits.template_work_per_decision // _EARLY

    def first_cause(self) -> Cause | None:
        """Return the first failure that nothing caught, with its place in the playbook."""
        causes = self.state.causes
        return next(
            (self.first_cause_of(name) for name in self.state.failed if name in causes), None
        )

    def first_cause_of(self, step: str) -> Cause | None:
        """Return the first failure in the newest run of a step."""
        cause = self.state.causes.get(step)
        return None if cause is None else placed(cause, self.playbook)

    def finish(self) -> Decision:
        """Close the decision: the commands' new states, and the end if there is one."""
        decision, state = self.decision, self.state
        if state.failed and not self._failed_before:
            decision.cause = self.first_cause()
        if state.soft is not None and not self._soft_before:
            decision.soft_error = placed(state.soft, self.playbook)
        if state.paused:
            decision.continue_later = False  # its end of pause continues
        if state.ended and not self._ended_before:
            decision.ended, decision.error = state.status, state.error
            decision.timers_done += state.timers
            for command in state.commands.values():
                self.abandon(command)
                decision.timers_done += command.timers
                self._endings[command.event_id] = ("CANCELLED", None)
                if command.wait is None:
                    decision.cut_off = True
                    self._touched[command.event_id] = command
        decision.changes = [
            self._change_of(command)
            for command in self._touched.values()
            if command.event_id not in self._recorded
        ]
        done = set(decision.timers_done)
        decision.timers = [
            timer
            for timer in decision.timers
            if timer.timer_id not in done and timer.payload.get("event_id") not in self._endings
        ]
        return decision

    def _change_of(self, command: CommandState) -> CommandChange:
        ended, error = self._endings.get(command.event_id, (None, None))
        result = self._results.get(command.event_id)
        return change_of(command, self.facts, ended=ended, error=error, result_event_id=result)
