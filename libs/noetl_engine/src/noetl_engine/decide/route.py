"""Routing: steps entered and skipped after a completion or failure (R2 to R7)."""

from collections.abc import Callable, Iterable, Mapping

from noetl_contract.json import Json

from noetl_engine.commands.collection import elements_of
from noetl_engine.commands.rendering import (
    admits,
    condition_holds,
    render_collection,
    render_count,
    render_set,
)
from noetl_engine.decide.draft import Draft
from noetl_engine.decide.ends.terminal import end_if_quiet, fail_execution
from noetl_engine.decide.plan import (
    Arrive,
    Drained,
    Entry,
    Plan,
    Skip,
    Token,
    Unit,
    Variables,
)
from noetl_engine.errors import EvaluateError, evaluating
from noetl_engine.inputs import Limits
from noetl_engine.playbook.model import (
    Arc,
    Loop,
    LoopMode,
    RouterForm,
    RouterMode,
    Step,
    Tool,
)
from noetl_engine.playbook.waits import WAIT_KINDS
from noetl_engine.state.context import drained, scope_of
from noetl_engine.state.model import Phase
from noetl_engine.state.results import bare_name, context_updates, with_self_copy

type Scope = Mapping[str, Json]

_ALL_TARGETS = frozenset({RouterForm.STEP, RouterForm.STEPS})


def route_completion(draft: Draft, step: str) -> None:
    """Route the completion that the draft's trigger is."""
    _decide(draft, lambda router: router.complete(step))


def route_failure(draft: Draft, step: str, error: str, *, ended: bool) -> None:
    """Route a hard failure (R7).

    Args:
        draft: Its trigger is the ``command.failed``.
        step: The step that failed.
        error: Its error text.
        ended: Whether nothing of the step is in flight any more.
    """
    _decide(draft, lambda router: router.fail(step, error, ended=ended))


def route_drained(draft: Draft, step: str, frames: int) -> None:
    """Route a cursor loop whose claim brought no rows."""
    _decide(draft, lambda router: router.drain(step, frames))


def _decide(draft: Draft, work: "Callable[[Routing], None]") -> None:
    router = Routing(draft)
    try:
        work(router)
        router.settle()
        commands = router.plan.build_commands()
    except EvaluateError as error:
        fail_execution(draft, error)
        return
    router.plan.write(commands)
    end_if_quiet(draft)


class Routing:
    """Works out the routing of one completion or failure on a plan."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.plan = Plan(draft)
        self.graph = self.plan.graph
        self.rounds = 0
        self._failure: Scope = {}
        """``output`` and ``event`` while the arcs of a handled failure are taken."""

    def complete(self, name: str) -> None:
        """Route a step that has completed: its ``set``, its arcs, the skips."""
        plan = self.plan
        plan.units.append(Unit())
        step = plan.steps.get(name)
        if step is None:
            return
        sources = self._sources_of(name)
        updates = self._values_of(sources)
        if step.set:
            # The iterations of a loop end before it does, a step's own rules count after its `set`.
            flat = {**plan.flat(), **updates} if step.loop is not None else plan.flat()
            given = {**scope_of(flat), "output": self._output_of(name)}
            with evaluating(name, "set"):
                values, failed = render_set(step.set, given)
            plan.unit.variables.append(Variables(name, values, failed))
            plan.set_values(values)
        if sources:
            plan.unit.from_results = sources
            plan.set_values(updates)
        scope: Scope = {}
        if any(arc.when is not None for arc in step.arcs):
            event = {"name": "loop.done" if step.loop is not None else "call.done"}
            output = self._output_of(name)
            scope = {**scope_of(plan.flat()), "output": output, "event": event}
        self._route(step, self._matching(step, scope, range(len(step.arcs))))

    def drain(self, name: str, frames: int) -> None:
        """Complete a cursor loop and route it; its bodies' variables are in the log already."""
        plan = self.plan
        plan.units.append(Unit(moves=[Drained(name)]))
        plan.set_phase(name, Phase.COMPLETED)
        plan.set_result(name, drained(frames))
        self.complete(name)

    def _output_of(self, name: str) -> Json:
        if name in self.plan.results:  # completed by this very decision
            return self.plan.results[name]
        return self.draft.memory.contexts.output_of(name)

    def _sources_of(self, name: str) -> dict[str, list[Json]]:
        """Return the positions of variables set by policy rules; once per completion (R12)."""
        memory = self.draft.memory
        if name in self.plan.results:
            return {}
        ref = self.draft.state.step(name).result
        if ref is not None and ref.kind == "loop":
            return memory.values.updates.pop(ref.first, {})
        if ref is not None and ref.kind == "row":
            updates = context_updates(memory.values.rows[ref.last])
            return {bare_name(key): [ref.last, key] for key in updates}
        return {}

    def _values_of(self, sources: dict[str, list[Json]]) -> dict[str, Json]:
        rows = self.draft.memory.values.rows
        return {
            variable: context_updates(rows[position]).get(key)
            for variable, (position, key) in sources.items()
        }

    def _matching(self, step: Step, scope: Scope, indexes: Iterable[int]) -> list[int]:
        router = step.next
        if router is None:
            return []
        if router.form in _ALL_TARGETS:
            return list(indexes)
        matched = []
        for index in indexes:
            arc = router.arcs[index]
            with evaluating(step.name, f"the guard of the arc to '{arc.target}'"):
                holds = arc.when is None or condition_holds(arc.when, scope)
            if holds:
                matched.append(index)
                if router.mode is RouterMode.EXCLUSIVE:
                    break
        return matched

    def _route(self, step: Step, matched: list[int]) -> None:
        """Skip steps that nothing can select any more (R4), then take the arcs in list order."""
        plan = self.plan
        if not step.arcs:
            return
        targets = self.graph.targets[step.name]
        if len(matched) < len(targets) and step.name not in self.graph.on_cycle:
            self._skip_unmatched(step.name, matched, targets)
        for order, index in enumerate(matched):
            plan.todo = [targets[later] for later in matched[order + 1 :]]
            self._deliver(step.name, index)
        plan.todo = []

    def _skip_unmatched(self, name: str, matched: list[int], targets: tuple[str, ...]) -> None:
        plan = self.plan
        chosen = {targets[index] for index in matched}
        rest = [
            target
            for index, target in enumerate(targets)
            if index not in matched
            and target not in chosen
            and target not in plan.running
            and target not in plan.waiting
            and target not in plan.blocked
            and not plan.is_done(target)
        ]
        if not rest:
            return
        selected = [
            targets[index]
            for index in matched
            if (name, index) in self.graph.back or not plan.is_done(targets[index])
        ]
        live = self.graph.live(plan.seeds(*selected), blocked=plan.blocked)
        for target in rest:
            if target not in live and not plan.is_done(target):
                self._skip(target, {})

    def _skip(self, name: str, args: dict[str, Json]) -> None:
        self.plan.unit.moves.append(Skip(name, args))
        self.plan.set_phase(name, Phase.SKIPPED)

    def _deliver(self, source: str, index: int) -> None:
        """Take an arc, and those of a chain of steps whose guards are false."""
        following: tuple[str, int] | None = (source, index)
        while following is not None:
            following = self._take(*following)

    def _release(self, join: str) -> None:
        """Enter a join with all that has arrived."""
        following = self._dispatch(join, self.plan.waiting[join])
        if following is not None:
            self._deliver(*following)

    def _take(self, source: str, index: int) -> tuple[str, int] | None:
        """Take an arc, unless R3 or R6 drops it; the next arc of a chain, if one begins."""
        plan, graph = self.plan, self.graph
        arc = plan.steps[source].arcs[index]
        target = arc.target
        if target in plan.blocked or target in plan.running:
            return None
        if (source, index) in graph.back:
            token = self._token(source, index, arc)
            self._reset(target)
            return self._dispatch(target, [token])
        if plan.is_done(target):
            return None
        token = self._token(source, index, arc)
        if target not in graph.joins:
            return self._dispatch(target, [token])
        plan.waiting.setdefault(target, []).append(token)
        plan.unit.moves.append(Arrive(target, token))
        if self._is_ready(target):
            return self._dispatch(target, plan.waiting[target])
        return None

    def _token(self, source: str, index: int, arc: Arc) -> Token:
        """Write the arc's ``set`` (R11); it is durable and lies on top for its target."""
        if not arc.set:
            return Token(source, index, arc.args)
        plan = self.plan
        with evaluating(source, f"'set' of the arc to '{arc.target}'"):
            values, failed = render_set(arc.set, {**scope_of(plan.flat()), **self._failure})
        variables = Variables(source, values, failed, arc=arc.target)
        plan.unit.variables.append(variables)
        plan.set_values(values)
        return Token(source, index, arc.args, variables, values=values)

    def _reset(self, target: str) -> None:
        """Send the done steps of a cycle back to pending (R6)."""
        plan = self.plan
        steps = [name for name in self.graph.component[target] if plan.is_done(name)]
        if steps:
            for name in steps:
                plan.phases[name] = Phase.PENDING
            plan.unit.moves.append(["reset", steps])

    def _is_ready(self, join: str) -> bool:
        """Return whether no forward upstream that has not arrived is live (R3)."""
        plan = self.plan
        missing = self.graph.upstream[join] - {token.source for token in plan.waiting[join]}
        if not missing:
            return True
        live = self.graph.live(plan.seeds(*plan.todo), blocked=plan.blocked, without=join)
        return missing.isdisjoint(live)

    def _dispatch(self, name: str, tokens: list[Token]) -> tuple[str, int] | None:
        """Enter a step, or give the first matching arc of one whose guard is false."""
        plan = self.plan
        plan.waiting.pop(name, None)
        step = plan.steps[name]
        entry = Entry(name, tokens)
        if step.when is not None or step.admit:
            scope = scope_of(plan.flat_of(entry))
            with evaluating(name, "when"):
                admitted = admits(step, scope)
            if not admitted:
                return self._follow(step, entry, scope)
        if step.loop is not None:
            self._open_loop(step.loop, entry)
        plan.unit.moves.append(entry)
        if entry.is_empty:
            self._count_round()
            plan.set_phase(name, Phase.COMPLETED)
            plan.set_result(name, [])
            plan.inline.append(name)
            return None
        plan.set_phase(name, Phase.RUNNING)
        plan.entries.append(entry)
        return None

    def _follow(self, step: Step, entry: Entry, scope: Scope) -> tuple[str, int] | None:
        plan = self.plan
        if step.name in plan.chained:
            # No row shows that the arrivals here are gone.
            plan.unit.moves.append(["discard", [step.name]])
            return None
        plan.chained.add(step.name)
        self._skip(step.name, entry.args())
        for index in range(len(step.arcs)):
            if self._matching(step, scope, [index]):
                return step.name, index
        return None

    def _open_loop(self, loop: Loop, entry: Entry) -> None:
        """Fix the collection at entry (R10); a cursor has none."""
        entry.loop = loop
        most = most_open(self.plan.steps[entry.step], self.draft.facts.limits)
        if loop.mode is LoopMode.CURSOR or loop.collection is None:
            entry.is_cursor = True
            together = loop.frame.row_concurrency
            if isinstance(together, str):
                scope = scope_of(self.plan.flat_of(entry))
                with evaluating(entry.step, "loop.spec.frame.row_concurrency"):
                    together = render_count("row_concurrency", together, scope)
            entry.limit = min(together, most)
            return
        plan = self.plan
        scope = scope_of(plan.flat_of(entry))
        with evaluating(entry.step, "loop.in"):
            rendered = render_collection(loop.collection, scope)
            entry.elements = elements_of(rendered, expression=loop.collection)
        with evaluating(entry.step, "loop.spec.max_in_flight"):
            entry.limit = limit_of(loop, scope, total=len(entry.elements), most=most)

    def _count_round(self) -> None:
        self.rounds += 1
        limit = self.draft.facts.limits.rounds_per_decision
        if self.rounds > limit:
            raise EvaluateError(f"a cycle of empty loops went round {limit} times")

    def fail(self, name: str, error: str, *, ended: bool) -> None:
        """Take matching error arcs, else block the steps behind (R7)."""
        plan = self.plan
        plan.units.append(Unit())
        step = plan.steps.get(name)
        arcs = self.graph.error_arcs.get(name, ())
        if step is not None and arcs:
            if not ended:
                return
            self._keep_updates(name)
            failure = {"output": self._error_of(name, error), "event": {"name": "call.error"}}
            matched = self._matching(step, {**scope_of(plan.flat()), **failure}, arcs)
            if matched:
                # A failed step leaves no result, so its arcs' `set` is where the error can go;
                # that of a completion sees no `output`.
                self._failure = failure
                self._route(step, matched)
                self._failure = {}
                return
        self._block(name)

    def _keep_updates(self, name: str) -> None:
        """Keep the variables set by good iterations of a failed loop, or by a failed answer."""
        cause, ref = self.draft.state.causes.get(name), self.draft.state.step(name).result
        is_of_this_run = cause is not None and cause.kind == "soft"
        if ref is None or (ref.kind != "loop" and not is_of_this_run):
            return
        sources = self._sources_of(name)
        if sources:
            self.plan.unit.from_results = sources
            self.plan.set_values(self._values_of(sources))

    def _error_of(self, name: str, error: str) -> Json:
        """Return the ``output`` of an error arc."""
        output: dict[str, Json] = {"status": "error", "error": error}
        cause = self.draft.first_cause_of(name)
        if cause is not None:
            output |= {"task": cause.task, "iteration": cause.iteration, "message": cause.message}
        return with_self_copy(output)

    def _block(self, name: str) -> None:
        plan, draft = self.plan, self.draft
        if name in draft.state.failed or name not in plan.steps:
            return
        plan.blocked = self.graph.blocked([*draft.state.failed, name])
        plan.unit.moves.append(["failed", name])
        discarded = [join for join in plan.waiting if join in plan.blocked]
        if discarded:
            for join in discarded:
                del plan.waiting[join]
            plan.unit.moves.append(["discard", discarded])

    def settle(self) -> None:
        """Test the waiting joins, route empty loops, and release a join as the last resort."""
        plan = self.plan
        self._test_joins()
        while plan.inline or (plan.waiting and not plan.running):
            if plan.inline:
                self.complete(plan.inline.popleft())
            else:
                first = min(plan.waiting, key=self.graph.rank.__getitem__)
                self._release(first)
            self._test_joins()

    def _test_joins(self) -> None:
        """In forward order, from the front again after each release."""
        plan = self.plan
        released = True
        while released and plan.waiting:
            released = False
            for join in sorted(plan.waiting, key=self.graph.rank.__getitem__):
                if self._is_ready(join):
                    self._release(join)
                    released = True
                    break


def most_open(step: Step, limits: Limits) -> int:
    """Return how many iterations of a loop may be open at once by the limits of the server.

    Their commands wait in the pool before those of other executions. Waits are none.
    """
    if isinstance(step.tool, Tool) and step.tool.kind in WAIT_KINDS:
        return limits.iterations_in_flight
    return min(limits.loop_window, limits.iterations_in_flight)


def limit_of(loop: Loop, scope: Scope, *, total: int, most: int) -> int | None:
    """Most iterations in flight: 1 for a sequential loop, ``max_in_flight`` for a parallel one.

    ``most`` bounds what an execution may have open at once, whatever its playbook says.

    Raises:
        EvaluateError: The template does not give an integer of at least 1.
    """
    if loop.mode is LoopMode.SEQUENTIAL:
        return 1
    if loop.max_in_flight is None:
        return most if total > most else None
    return min(render_count("max_in_flight", loop.max_in_flight, scope), most)
