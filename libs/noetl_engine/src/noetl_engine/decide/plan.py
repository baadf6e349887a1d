"""Plan the steps that a completion enters, skips or blocks, on a copy of the phases.

Nothing is appended before the whole routing is known and every command of it is rendered, so a
failing template leaves no trace (R14).
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from noetl_contract.events import EventType
from noetl_contract.json import Json

from noetl_engine.commands.build import BuiltCommand, LoopElement, build_claim, build_command
from noetl_engine.decide.draft import Draft
from noetl_engine.errors import evaluating
from noetl_engine.outputs import NeedResults
from noetl_engine.playbook.model import Arc, Loop
from noetl_engine.state.context import Flat
from noetl_engine.state.model import Phase

DONE = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.SKIPPED})


@dataclass(slots=True)
class Variables:
    """A ``ctx.updated`` to be written: a step's ``set``, or that of a taken arc."""

    step: str
    values: dict[str, Json]
    failed_keys: list[str]
    arc: str | None = None
    position: int | None = None


@dataclass(slots=True)
class Token:
    """Values that a step gets over one arc: legacy args and variables."""

    source: str
    arc: int
    args: Mapping[str, Json]
    variables: Variables | None = None
    set_position: int | None = None
    """Row of the variables when they were written by an earlier decision."""
    values: Mapping[str, Json] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """A step to be entered, with the values that lie on top of its context."""

    step: str
    tokens: list[Token]
    loop: Loop | None = None
    elements: list[Json] = field(default_factory=list)
    limit: int | None = None
    is_cursor: bool = False
    """Its elements are claimed one frame at a time."""
    is_queued: bool = False
    """Its command comes with a later part of the fan-out (W9)."""

    @property
    def is_empty(self) -> bool:
        """Whether it is a loop over nothing, done as soon as it is entered."""
        return self.loop is not None and not self.is_cursor and not self.elements

    def args(self) -> dict[str, Json]:
        """Legacy args of all its arcs."""
        merged: dict[str, Json] = {}
        for token in self.tokens:
            merged.update(token.args)
        return merged

    def own(self) -> dict[str, Json]:
        """Values that its commands see on top of the context, in arrival order."""
        merged: dict[str, Json] = {}
        for token in self.tokens:
            merged.update(token.args)
            merged.update(token.values)
        return merged

    @property
    def wanted(self) -> int:
        """Number of commands that may be issued at once."""
        if self.loop is None or self.is_cursor:
            return 1
        return len(self.elements) if self.limit is None else min(self.limit, len(self.elements))


@dataclass(slots=True)
class Skip:
    """A step to be skipped; ``args`` only when its own guard was false."""

    step: str
    args: dict[str, Json] = field(default_factory=dict)


@dataclass(slots=True)
class Arrive:
    """A token that stays at a join."""

    join: str
    token: Token


@dataclass(slots=True)
class Drained:
    """A cursor loop whose claim brought no rows any more."""

    step: str


type Move = Entry | Skip | Arrive | Drained | list[Json]
"""A list is a change of the routing as rows note it: ``reset``, ``failed`` or ``discard``."""


@dataclass(slots=True)
class Unit:
    """The routing of one completion: variables first, then moves in the order they happen."""

    variables: list[Variables] = field(default_factory=list)
    from_results: dict[str, list[Json]] = field(default_factory=dict)
    """Rows of the variables that are part of a result already in the log."""
    moves: list[Move] = field(default_factory=list)


class Plan:
    """Phases, arrivals and variables as they will be once the plan is written."""

    def __init__(self, draft: Draft) -> None:
        state = draft.state
        self.draft = draft
        self.graph = draft.graph
        self.steps = draft.playbook.steps
        self.phases: dict[str, Phase] = {}
        self.running = dict.fromkeys(state.running)
        self.waiting: dict[str, list[Token]] = {}
        self.blocked = self.graph.blocked(state.failed)
        self.todo: list[str] = []
        """Matched targets of the completion being routed that are not treated yet."""
        self.inline: deque[str] = deque()
        """Empty loops, completed on the spot and not routed yet."""
        self.chained: set[str] = set()
        self.units: list[Unit] = []
        self.entries: list[Entry] = []
        self._fresh: dict[str, Json] = {}
        self.results: dict[str, Json] = {}
        """Results of loops that this decision has completed."""
        self._flat: Flat | None = None
        for join in state.waiting:
            self.waiting[join] = self._stored_tokens(join)

    def phase(self, name: str) -> Phase:
        """Return the phase a step will have."""
        planned = self.phases.get(name)
        return self.draft.state.phase(name) if planned is None else planned

    def is_done(self, name: str) -> bool:
        """Return whether a step will be done."""
        return self.phase(name) in DONE

    def set_phase(self, name: str, phase: Phase) -> None:
        """Plan a phase."""
        self.phases[name] = phase
        if phase is Phase.RUNNING:
            self.running[name] = None
        else:
            self.running.pop(name, None)

    @property
    def unit(self) -> Unit:
        """The routing being planned."""
        return self.units[-1]

    def seeds(self, *more: str) -> list[str]:
        """Return the steps that keep others live: running ones, waiting joins, empty loops."""
        return [*self.running, *self.waiting, *self.inline, *more]

    def _stored_tokens(self, join: str) -> list[Token]:
        rows = self.draft.memory.values.rows
        tokens = []
        for arrival in self.draft.state.step(join).arrivals:
            arc = self.arc(arrival.source, arrival.arc)
            at = arrival.set_position
            values = {} if at is None else rows[at]
            tokens.append(
                Token(arrival.source, arrival.arc, arc.args if arc else {}, None, at, values)
            )
        return tokens

    def arc(self, source: str, index: int) -> Arc | None:
        """Return an arc by its place; None when the playbook has changed under the execution."""
        step = self.steps.get(source)
        return step.arcs[index] if step is not None and index < len(step.arcs) else None

    def flat(self) -> Flat:
        """Return the context with the variables that this decision has set so far."""
        if self._flat is None:
            flat = self.draft.memory.contexts.flat()
            if self.results:
                steps = flat.get("steps", {})
                if isinstance(steps, dict):  # and no variable of that name
                    steps = {**steps, **self.results}
                flat = {**flat, **self.results, "steps": steps}
            self._flat = {**flat, **self._fresh} if self._fresh else flat
        return self._flat

    def flat_of(self, entry: Entry) -> Flat:
        """Return that context under the values given to a step that is entered."""
        own, flat = entry.own(), self.flat()
        given = self.draft.memory.given_to(entry.step, entering=True)
        if given:
            own = {**own, "workload": {**flat.get("workload", {}), **given}, **given}
        return {**flat, **own} if own else flat

    def plain_results(self) -> frozenset[str]:
        """Return the names in that context that are results of steps and nothing else."""
        names = self.draft.memory.contexts.results() | self.results.keys()
        return frozenset(names - self._fresh.keys())

    def set_values(self, values: Mapping[str, Json]) -> None:
        """Make variables visible to the rest of the decision."""
        self._fresh.update(values)
        self._flat = None

    def set_result(self, step: str, result: Json) -> None:
        """Show the result of a loop that this decision completes."""
        self.results[step] = result
        self._flat = None

    def build_commands(self) -> list[BuiltCommand]:
        """Render the commands of the entered steps, as many as one decision may issue (W9).

        Raises:
            EvaluateError: A template fails.
        """
        built: list[BuiltCommand] = []
        if self.entries:
            self.draft.refuse_endless()
        for entry in self.entries:
            with evaluating(entry.step, "tool"):
                self._build_entry(entry, built)
        return built

    def _build_entry(self, entry: Entry, built: list[BuiltCommand]) -> None:
        draft, step = self.draft, self.steps[entry.step]
        walked = draft.memory.contexts.walked
        flat = self.flat_of(entry)
        results = self.plain_results() - entry.own().keys()
        room = draft.room(flat, wanted=len(built) + entry.wanted) - len(built)
        # Also of the first one, when guards and `set` were the work.
        if draft.is_taking_over or draft.has_worked_enough or draft.is_full(built):
            room = 0
        entry.is_queued = room < 1 and (entry.loop is None or entry.is_cursor)
        if room < 1:
            return
        if entry.is_cursor:
            built.append(build_claim(step, flat, 0))
            return
        if entry.loop is None:
            given = draft.memory.given_to(entry.step, entering=True)
            built.append(build_command(step, flat, results=results, walked=walked, given=given))
            return
        total = len(entry.elements)
        for index in range(min(entry.wanted, room)):
            if draft.is_full(built):
                break
            element = draft.memory.values.stored.element(entry.elements[index])
            iteration = LoopElement(entry.loop, index, total, element)
            given = draft.memory.given_to(entry.step, index, entering=True)
            try:
                command = build_command(
                    step, flat, iteration, results=results, walked=walked, given=given
                )
            except NeedResults:
                if not built:
                    raise
                break  # the next decision reads for those that are left
            built.append(command)

    def write(self, commands: list[BuiltCommand]) -> None:
        """Append the plan: per routing variables, skips and enters; then all commands."""
        draft = self.draft
        for unit in self.units:
            self._write_variables(unit)
            for move in unit.moves:
                self._write_move(move)
        for command in commands:
            draft.issue(command)
        for entry in self.entries:
            loop = draft.state.step(entry.step).loop
            if entry.is_queued or (loop is not None and loop.may_issue):
                draft.decision.continue_later = True

    def _write_variables(self, unit: Unit) -> None:
        draft = self.draft
        if not unit.variables or unit.variables[0].arc is not None:
            self._write_updates(unit)
        for variables in unit.variables:
            context: dict[str, Json] = {"step": variables.step, "gen": draft.trigger}
            context["values"] = variables.values
            if variables.arc is not None:
                context["arc"] = variables.arc
            row = draft.engine_row(EventType.CTX_UPDATED, None, "CONTEXT", context)
            if variables.failed_keys:
                row.meta["set_errors"] = variables.failed_keys
            variables.position = draft.append(row).position
            self._write_updates(unit)

    def _write_updates(self, unit: Unit) -> None:
        """Results' own variables win over the step's ``set`` but not over its arcs'."""
        if unit.from_results:
            self.draft.apply(["variables", unit.from_results])
            unit.from_results = {}

    def _write_move(self, move: Move) -> None:
        draft = self.draft
        match move:
            case Entry():
                self._write_entry(move)
            case Skip(step=step, args=args):
                draft.append(draft.engine_row(EventType.STEP_SKIPPED, step, "SKIPPED", args))
            case Arrive(join=join, token=token):
                op: list[Json] = ["arrive", join, token.source, token.arc]
                at = _row_of(token)
                draft.apply(op if at is None else [*op, at])
            case Drained(step=step):
                drained: Json = {"__cursor_drained": True}
                draft.append(draft.engine_row(EventType.STEP_EXIT, step, "COMPLETED", drained))
            case list():
                draft.apply(move)

    def _write_entry(self, entry: Entry) -> None:
        draft = self.draft
        context = entry.args()
        if entry.loop is None and not entry.is_queued:
            draft.append(draft.engine_row(EventType.STEP_ENTER, entry.step, "ENTERED", context))
            return
        note: dict[str, Json] = {} if entry.loop is None else {"limit": entry.limit}
        if entry.is_queued:
            note["queued"] = True
        if entry.loop is not None and not entry.is_cursor:
            note["collection"] = entry.elements
        own = [at for token in entry.tokens if (at := _row_of(token)) is not None]
        if own:
            note["own"] = own
        if context:
            note["args"] = dict(context)
        if entry.is_cursor:
            context["__cursor_loop"] = True
        elif entry.loop is not None:
            context["iterations_expected"] = len(entry.elements)
            context["iterator_var"] = entry.loop.iterator
        row = draft.engine_row(EventType.STEP_ENTER, entry.step, "ENTERED", context, note=note)
        draft.append(row)
        if entry.is_empty:
            draft.append(draft.engine_row(EventType.STEP_EXIT, entry.step, "COMPLETED"))


def _row_of(token: Token) -> int | None:
    return token.set_position if token.variables is None else token.variables.position
