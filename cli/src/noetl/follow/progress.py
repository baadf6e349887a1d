"""Progress of an execution on the terminal, folded from its events. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from noetl_contract.events import status_of_terminal
from noetl_contract.failures.cause import Cause, cause_of
from noetl_contract.json import Json, JsonObject


class StepState(StrEnum):
    """State of a step."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass
class StepProgress:
    """One step as the terminal shows it."""

    name: str
    state: StepState = StepState.WAITING
    runs: int = 0
    began_at: datetime | None = None
    ended_at: datetime | None = None
    expected: int | None = None
    done_commands: set[str] = field(default_factory=set)
    result: Json = None
    error: str | None = None

    @property
    def is_loop(self) -> bool:
        """Whether its iterations are counted."""
        return self.expected is not None

    def seconds(self, now: datetime | None) -> float:
        """Return the seconds that the last run took, or takes until now."""
        until = self.ended_at or now
        if self.began_at is None or until is None:
            return 0.0
        return max((until - self.began_at).total_seconds(), 0.0)


@dataclass
class Progress:
    """The whole execution as the terminal shows it."""

    steps: dict[str, StepProgress] = field(default_factory=dict)
    ending: str | None = None
    cause: Cause | None = None
    error: str | None = None
    last_result_of: str | None = None

    def apply(self, event: JsonObject) -> StepProgress | None:
        """Apply one event; return the step whose state it changed, if any."""
        kind, name = str(event.get("event_type")), event.get("node_name")
        if ending := status_of_terminal(kind):
            self.ending = self.ending or str(ending)
            self.error = self.error or event.get("error") or _context(event).get("error")
            self.cause = self.cause or cause_of(event.get("cause"))
            return None
        if not name or kind == "playbook_started" or _is_late(event):
            return None
        step = self.steps.setdefault(name, StepProgress(name))
        before = (step.state, step.runs, len(step.done_commands))
        self._apply_to(step, kind, event)
        return step if before != (step.state, step.runs, len(step.done_commands)) else None

    @property
    def failed_steps(self) -> list[StepProgress]:
        """Steps that failed, in the order in which they were first heard of."""
        return [step for step in self.steps.values() if step.state is StepState.FAILED]

    @property
    def result(self) -> Json:
        """Result of the step that finished last."""
        return self.steps[self.last_result_of].result if self.last_result_of else None

    def _apply_to(self, step: StepProgress, kind: str, event: JsonObject) -> None:
        moment = _moment(event)
        match kind:
            case "step.enter":
                self._begin(step, moment)
                step.expected = _context(event).get("iterations_expected")
            case "step.skipped":
                step.state = StepState.SKIPPED
            case "step.exit":
                step.state, step.ended_at = StepState.DONE, moment
            case "command.issued" | "wait.started" if step.state is not StepState.RUNNING:
                self._begin(step, moment)  # a start step is not entered, only issued
            case "call.done":
                self._take_result(step, event)
            case "call.error" if step.state is not StepState.FAILED:
                step.error = str(_context(event).get("error") or event.get("error") or "failed")
            case "command.completed":
                self._complete(step, event, moment)
            case "command.failed" if step.state is not StepState.FAILED:
                step.state, step.ended_at = StepState.FAILED, moment
                text = _context(event).get("error") or event.get("error")
                step.error = str(text or step.error or "failed")

    def _begin(self, step: StepProgress, moment: datetime | None) -> None:
        step.state, step.began_at, step.ended_at = StepState.RUNNING, moment, None
        step.runs += 1
        step.expected, step.error = None, None
        step.done_commands = set()

    def _take_result(self, step: StepProgress, event: JsonObject) -> None:
        if step.state is StepState.FAILED:
            return  # another iteration of a loop that has failed
        inner = _context(event).get("result")
        outcome = inner.get("context") if isinstance(inner, dict) else None
        if not isinstance(outcome, dict):
            reference = (event.get("result") or {}).get("reference")
            outcome = {"data": {"reference": reference}} if reference else {}
        step.result = outcome.get("data")
        # A soft error completes its step all the same; whoever looks on should see it.
        step.error = str(outcome["error"]) if outcome.get("error") else None

    def _complete(self, step: StepProgress, event: JsonObject, moment: datetime | None) -> None:
        step.done_commands.add(str(_context(event).get("command_id") or event.get("event_id")))
        if step.state is StepState.FAILED:
            return
        if step.expected is None or len(step.done_commands) >= step.expected:
            step.state, step.ended_at = StepState.DONE, moment
            self.last_result_of = step.name


def _context(event: JsonObject) -> JsonObject:
    result = event.get("result")
    context = result.get("context") if isinstance(result, dict) else None
    return context if isinstance(context, dict) else {}


def _is_late(event: JsonObject) -> bool:
    """Return whether it is a report of a run that was over, kept for the record only."""
    meta = event.get("meta")
    return isinstance(meta, dict) and meta.get("late") is True


def _moment(event: JsonObject) -> datetime | None:
    try:
        return datetime.fromisoformat(str(event.get("created_at")))
    except ValueError:
        return None
