"""Holder of one execution's state, row values and variables; `absorb` takes each new row."""

from collections.abc import Iterable

from noetl_contract.events import EventRow, EventType
from noetl_contract.json import Json, JsonObject

from noetl_engine.state.context import Contexts
from noetl_engine.state.fold import fold
from noetl_engine.state.model import CommandState, State
from noetl_engine.state.results import StoredResults
from noetl_engine.state.values import IterationResult, Values

RUN_ENDS = frozenset({EventType.COMMAND_COMPLETED, EventType.COMMAND_FAILED})
_RESULT_ROWS = frozenset(
    {EventType.PLAYBOOK_STARTED, EventType.EXECUTION_RESTORED, EventType.CTX_UPDATED}
)
_OPENING_ROWS = frozenset({EventType.COMMAND_ISSUED, EventType.WAIT_STARTED})


class Memory:
    """State, values and contexts of one execution, kept in step."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.values = Values(stored=StoredResults(state.execution_id))
        self.contexts = Contexts(state, self.values)

    def absorb(self, row: EventRow) -> None:
        """Fold a row and keep the values in it that decisions will need."""
        state, values = self.state, self.values
        if row.position <= state.position:
            return
        note = row.note if isinstance(row.note, dict) else {}
        command = state.commands.get(note["command"]) if "command" in note else None
        event_type = row.event_type
        if command is None:
            if event_type in _RESULT_ROWS and "inert" not in note:
                values.take_row(row)
            fold(state, row)
            if _is_read_later(state, row, note):
                values.take_row(row)
            elif event_type == EventType.STEP_ENTER and _issues_later(state, row):
                values.take_row(row)
                if "collection" in note:
                    values.begin_loop(row.position)
            return
        # Before the row: the decision that follows still reads the values that it ends.
        values.prune(state)
        self._absorb_run(row, command)
        if "ops" in note:
            self.note_frames(note["ops"])

    def given_to(
        self, step: str, index: int | None = None, *, entering: bool = False
    ) -> JsonObject:
        """Return the input of a restart that a run of a step sees on top of all else.

        ``entering`` means the visit that is about to begin.
        """
        state, wanted = self.state, self.state.take_over
        given = state.given if wanted is None else wanted.given
        if given is None or not given.keys:
            return {}
        known = state.steps.get(step)
        visit = (0 if known is None else known.runs) + entering
        if not given.is_for(step, visit, index):
            return {}
        values = self.values.rows[state.workload] if wanted is None else wanted.input
        return {key: values[key] for key in given.keys}

    def note_frames(self, operations: Iterable[list[Json]]) -> None:
        """Begin to keep the outcomes of a cursor's frame when its rows have come."""
        for name, *arguments in operations:
            if name == "frame":
                self.values.begin_loop(arguments[1])

    def _absorb_run(self, row: EventRow, command: CommandState) -> None:
        state, values = self.state, self.values
        step = state.step(command.step)
        loop = step.loop
        ends = ends_run(row)
        if row.event_type == EventType.CALL_DONE:
            if command.index is None or loop is None:
                values.take_row(row)
            else:
                named = command.command_id if is_callback(row) else None
                outcome = IterationResult(command.index, row.position, row.result, command_id=named)
                values.take_iteration(loop.run_at, outcome)
        elif row.event_type == EventType.COMMAND_COMPLETED and command.call is None:
            values.take_row(row)
        fold(state, row)
        if ends:
            values.drop(command.issued)
        if loop is not None and step.loop is None:
            self._end_loop(step.name, loop.run_at)

    def _end_loop(self, name: str, entered: int) -> None:
        """Gather the result, unless iterations are missing after a restore."""
        ref = self.state.step(name).result
        if ref is not None and ref.first == entered:
            if entered in self.values.complete:
                self.values.end_loop(ref)
        else:
            self.values.drop_iterations(entered)


def _issues_later(state: State, row: EventRow) -> bool:
    """Return whether commands will be built from the note of a ``step.enter``."""
    step = state.steps.get(row.node_name or "")
    begun = None if step is None else step.loop or step.queued
    return begun is not None and begun.entered == row.position


def _is_read_later(state: State, row: EventRow, note: dict[str, Json]) -> bool:
    """Return whether a row opens a command or a wait, or is a signal that was kept."""
    if row.event_type in _OPENING_ROWS:
        return row.event_id in state.commands
    return row.event_type == EventType.SIGNAL_RECEIVED and "kept" in note


def is_callback(row: EventRow) -> bool:
    """Return whether a ``call.done`` came from outside, for a command that parks."""
    return isinstance(row.note, dict) and "callback" in row.note


def ends_run(row: EventRow) -> bool:
    """Return whether a row of an open command ends it."""
    note = row.note if isinstance(row.note, dict) else {}
    if row.event_type in RUN_ENDS:
        return "parked" not in note
    return note.get("callback") == "ends"
