"""Contents of log rows that decisions read: results, collections, iterations, loop arrays."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from noetl_contract.events import EventRow, EventType
from noetl_contract.json import Json, encode

from noetl_engine.state.identity import command_id_of
from noetl_engine.state.model import ResultRef, State
from noetl_engine.state.results import StoredResults, bare_name, context_updates

_NODE_BYTES = 64
_COUNTED_NODES = 2000
# A command's own share; the large part of its context is shared with the other values.
_ISSUED_BYTES = 2000
_PRUNE_ABOVE = 64
_ENTRY_BYTES = 200


@dataclass(slots=True)
class IterationResult:
    """One ended iteration of a loop: position and content of its outcome."""

    index: int
    position: int
    result: Json
    bare: bool = False
    """There is only a ``command.completed``."""
    command_id: str | None = None
    """Of a callback, whose row doesn't name its command."""

    def entry(self, stored: StoredResults) -> dict[str, Json]:
        """Return the iteration's part of the loop's result (R10)."""
        context = self.result.get("context") if isinstance(self.result, dict) else None
        context = context if isinstance(context, dict) else {}
        inner = context.get("result")
        status = inner.get("status") if isinstance(inner, dict) else None
        if self.command_id is not None:
            status = "error" if self.result.get("status") == "FAILED" else "success"
        elif not isinstance(status, str):
            status = self.result.get("status") if self.bare else "success"
        command_id = self.command_id or context.get("command_id")
        return {
            "status": status,
            "context": {"command_id": command_id, "status": status},
            "data": None if self.bare else stored.iteration_data_of(self.result),
        }


def index_of(command_id: str | None) -> int | None:
    """Return the iteration index at the end of a command id."""
    if command_id is None:
        return None
    head, mark, digits = command_id.rpartition(":i")
    return int(digits) if mark and head and digits.isdecimal() else None


@dataclass(slots=True)
class Values:
    """Values by the position of their row.

    ``rows`` holds what a decision may need of a row. A run of a loop is named by the position
    of its entry: ``iterations`` holds the outcomes of unfinished ones, all of them only for
    those in ``complete``.
    """

    rows: dict[int, Json] = field(default_factory=dict)
    iterations: dict[int, dict[int, IterationResult]] = field(default_factory=dict)
    complete: set[int] = field(default_factory=set)
    loops: dict[int, list[Json]] = field(default_factory=dict)
    """Results of ended loops, by the position of their entry."""
    updates: dict[int, dict[str, list[Json]]] = field(default_factory=dict)
    """Variables of the execution that the iterations of a loop that has just ended have set."""
    stored: StoredResults = field(default_factory=StoredResults)
    """Results that are kept elsewhere."""
    _data: dict[int, Json] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)
    _bytes: int = 0
    _iteration_bytes: dict[int, int] = field(default_factory=dict)
    _json_bytes: dict[int, int] = field(default_factory=dict)
    _prune_above: int = _PRUNE_ABOVE

    def put(self, position: int, value: Json, *, size: int | None = None) -> None:
        """Keep the value of a row; with ``size`` it is not estimated."""
        self.rows[position] = value
        self._data.pop(position, None)
        self._json_bytes.pop(position, None)
        self._weigh(position, rough_bytes(value) if size is None else size)

    def _weigh(self, position: int, size: int) -> None:
        self._bytes += size - self._sizes.get(position, 0)
        self._sizes[position] = size

    def json_bytes(self, position: int, *, above: int) -> int:
        """Return the bytes of a row's value as JSON, exact above a bound; 0 for one below it."""
        # The estimate counts more than JSON has, so small values are never encoded for this.
        if self._sizes.get(position, 0) <= above:
            return 0
        known = self._json_bytes.get(position)
        if known is None:
            known = self._json_bytes[position] = len(encode(self.rows[position]))
        return known

    def data(self, position: int) -> Json:
        """Return the unwrapped data of the result at a position, with its self copy."""
        try:
            return self._data[position]
        except KeyError:
            data = self._data[position] = self.stored.data_of(self.rows[position])
            return data

    def take_row(self, row: EventRow) -> None:
        """Keep the value of a row that was read from the log."""
        match row.event_type:
            case EventType.PLAYBOOK_STARTED | EventType.EXECUTION_RESTORED:
                context = row.context if isinstance(row.context, dict) else {}
                self.put(row.position, context.get("workload") or {})
            case EventType.STEP_ENTER:
                self.put(row.position, row.note or {})
            case EventType.CTX_UPDATED:
                context = (row.result or {}).get("context") or {}
                self.put(row.position, context.get("values") or {})
            case EventType.CALL_DONE | EventType.COMMAND_COMPLETED:
                self.put(row.position, row.result)
            case EventType.COMMAND_ISSUED:
                issued = {"action": row.node_type, "context": row.context, "meta": row.meta}
                self.put(row.position, issued, size=_ISSUED_BYTES)
            case EventType.WAIT_STARTED | EventType.SIGNAL_RECEIVED:
                self.put(row.position, (row.result or {}).get("context") or {})
            case _:
                pass

    def take_iteration(self, entered: int, iteration: IterationResult) -> None:
        """Keep the outcome of an iteration; a later run's replaces an earlier one's."""
        self.iterations.setdefault(entered, {})[iteration.index] = iteration
        kept = self._iteration_bytes.get(entered, 0)
        self._iteration_bytes[entered] = kept + rough_bytes(iteration.result)

    def begin_loop(self, entered: int) -> None:
        """Start collecting a loop's outcomes; complete, since its first row was seen."""
        self.iterations[entered] = {}
        self.complete.add(entered)

    def drop_iterations(self, entered: int) -> dict[int, IterationResult]:
        """Forget the outcomes of a loop, giving them away."""
        self._iteration_bytes.pop(entered, None)
        self.complete.discard(entered)
        return self.iterations.pop(entered, {})

    def provide_loop(self, entered: int, rows: Iterable[EventRow]) -> None:
        """Take a loop's ``call.done`` rows from the log."""
        known = self.drop_iterations(entered)
        self.iterations[entered] = {}
        for row in rows:
            note = row.note if isinstance(row.note, dict) else {}
            index = note.get("index", index_of(command_id_of(row)))
            if index is None or "command" not in note:
                continue
            named = note.get("command_id")
            iteration = IterationResult(index, row.position, row.result, command_id=named)
            self.take_iteration(entered, iteration)
        for iteration in known.values():
            self.take_iteration(entered, iteration)
        self.complete.add(entered)

    def end_loop(self, ref: ResultRef) -> None:
        """Gather the result of an ended loop in index order and forget its iterations."""
        known = self.drop_iterations(ref.first)
        for position in ref.bare:
            # The run that counted sent no data, whatever a lost run before it sent.
            bare = self._bare(position)
            known[bare.index] = bare
        ordered = [known[index] for index in sorted(known)]
        self.updates[ref.first] = self._collect_updates(ordered)
        result: list[Json] = [iteration.entry(self.stored) for iteration in ordered]
        self.stored.join(result)
        self.loops[ref.first] = result
        self._weigh(ref.first, rough_bytes(result))

    def set_by_iteration(self, entered: int, index: int, position: int) -> dict[str, list[Json]]:
        """Return the positions of variables an iteration set; its outcome is at ``position``."""
        iteration = self.iterations.get(entered, {}).get(index)
        if iteration is None:  # it came before a restore
            iteration = IterationResult(index, position, self.rows[position])
        return self._collect_updates([iteration])

    def end_frame(self, rows_at: int) -> dict[str, list[Json]]:
        """Forget the outcomes of a cursor's frame; return the positions of their variables."""
        known = self.drop_iterations(rows_at)
        return self._collect_updates([known[index] for index in sorted(known)])

    def _collect_updates(self, iterations: list[IterationResult]) -> dict[str, list[Json]]:
        """Return the positions of variables set by iterations, the last index winning (R10)."""
        found: dict[str, list[Json]] = {}
        rows: dict[int, Json] = {}
        for iteration in iterations:
            for key in context_updates(iteration.result):
                if not key.startswith("iter."):
                    found[bare_name(key)] = [iteration.position, key]
                    rows[iteration.position] = iteration.result
        for position in {position for position, _ in found.values()}:
            self.put(position, rows[position])
        return found

    def _bare(self, position: int) -> IterationResult:
        result = self.rows[position]
        context = result.get("context") if isinstance(result, dict) else None
        command_id = context.get("command_id") if isinstance(context, dict) else None
        return IterationResult(index_of(command_id) or 0, position, result, bare=True)

    def drop(self, position: int) -> None:
        """Forget a row's value."""
        self.rows.pop(position, None)
        self._data.pop(position, None)
        self._json_bytes.pop(position, None)
        self._bytes -= self._sizes.pop(position, 0)

    def prune(self, state: State) -> None:
        """Forget values that the state no longer refers to, now and then."""
        if len(self.rows) <= self._prune_above:
            return
        needed = needed_positions(state)
        self._prune_above = 2 * len(needed) + _PRUNE_ABOVE
        for position in [position for position in self.rows if position not in needed]:
            self.drop(position)
        entries = {step.result.first for step in state.steps.values() if step.result}
        for entered in [entered for entered in self.loops if entered not in entries]:
            del self.loops[entered]

    def memory_size(self) -> int:
        """Roughly how many bytes all this takes."""
        kept = self._bytes + sum(self._iteration_bytes.values()) + _ENTRY_BYTES * len(self.rows)
        return kept + sum(map(rough_bytes, self.stored.parts))


def context_positions(state: State) -> set[int]:
    """Return the positions of rows that make up the context of a new command."""
    positions = {state.workload, *(position for position, _ in state.variables.values())}
    positions.update(kept.position for kept in state.signals)
    for step in state.steps.values():
        if step.result is not None and step.result.kind == "row":
            positions.add(step.result.last)
        for arrival in step.arrivals:
            if arrival.set_position is not None:
                positions.add(arrival.set_position)
    return positions


def needed_positions(state: State) -> set[int]:
    """Return every row whose value some later decision may need."""
    positions = context_positions(state)
    for step in state.steps.values():
        if step.result is not None:
            positions.update(step.result.bare)
        if step.queued is not None:
            positions.update((step.queued.entered, *step.queued.own))
        if step.loop is not None:
            positions.add(step.loop.entered)
            positions.add(step.loop.run_at)
            positions.update(step.loop.own)
            positions.update(step.loop.bare)
    for command in state.commands.values():
        positions.add(command.issued)
        positions.update(at for at in (command.call, command.callback) if at is not None)
    return positions


def rough_bytes(value: Json) -> int:
    """Return a cheap estimate: exact for small values, extrapolated for large ones."""
    total = 0
    counted = 0
    pending = [value]
    while pending:
        item = pending.pop()
        counted += 1
        total += _NODE_BYTES
        if counted > _COUNTED_NODES:
            return total * (1 + len(pending) // counted)
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, dict):
            total += sum(map(len, dict.keys(item))) + _NODE_BYTES
            pending.extend(dict.values(item))
        elif isinstance(item, list):
            pending.extend(item)
    return total
