"""The variables that templates see (workload, results, `set`), cached until one changes."""

from collections.abc import Iterable, Mapping

from noetl_contract.json import Json

from noetl_engine.state.model import State
from noetl_engine.state.results import context_updates
from noetl_engine.state.values import Values

type Flat = Mapping[str, Json]
_OWN_NAMES = frozenset(
    {"ctx", "workload", "steps", "execution_id", "catalog_id", "path", "version", "iter"}
)


def scope_of(flat: Flat) -> dict[str, Json]:
    """Return the scope of templates: the flat context with its aliases."""
    scope = dict(flat)
    scope.setdefault("ctx", flat)
    scope.setdefault("workload", flat)
    return scope


def start_flat(
    workload: Mapping[str, Json], *, execution_id: int, catalog_id: int, path: str
) -> dict[str, Json]:
    """Return the flat context of the start step, where no step has a result yet."""
    return {
        **workload,
        "workload": workload,
        "execution_id": str(execution_id),
        "catalog_id": str(catalog_id),
        "path": path,
    }


def drained(frames: int) -> dict[str, Json]:
    """Return the result of a cursor loop that has run dry."""
    data: dict[str, Json] = {"cursor": "drained", "frames": frames}
    return {**data, "data": data}


class Walked:
    """Facts found about values that stay the same, by the values' identity.

    Attributes:
        templates: whether a template is somewhere in them.
        sizes: whether they are so large that a command had better not carry them for nothing.
        hold_stored: whether results among them may be kept in the result store.
    """

    __slots__ = ("hold_stored", "sizes", "templates")

    def __init__(self) -> None:
        self.hold_stored = False
        self.templates: dict[int, tuple[Json, bool]] = {}
        self.sizes: dict[int, tuple[Json, bool]] = {}

    def keep(self, alive: Iterable[Json]) -> None:
        """Forget all other values."""
        for name in ("templates", "sizes"):
            known = getattr(self, name)
            if known:
                kept = {id(value): known.get(id(value)) for value in alive}
                setattr(self, name, {at: one for at, one in kept.items() if one is not None})


class Contexts:
    """The flat context of one execution, kept until a result or variable changes."""

    def __init__(self, state: State, values: Values) -> None:
        self._state = state
        self._values = values
        self._version = -1
        self._flat: dict[str, Json] = {}
        self.walked = Walked()
        """Facts that the commands made so far found about the values in the context."""

    def results(self) -> frozenset[str]:
        """Return the names in the context that are results of steps and nothing else."""
        state = self._state
        names = [name for name, step in state.steps.items() if step.result is not None]
        return frozenset(names).difference(state.variables, _OWN_NAMES)

    def flat(self) -> Flat:
        """Return the context as of the state's position; read it, never change it."""
        if self._version != self._state.context_version:
            self._flat = self._build()
            self._version = self._state.context_version
            self.walked.keep(self._flat.values())
        return self._flat

    def output_of(self, step: str) -> Json:
        """Return the unwrapped data of a step's newest result."""
        ref = self._state.step(step).result
        if ref is None:
            return None
        match ref.kind:
            case "row":
                return self._values.data(ref.last)
            case "loop":
                return self._values.loops[ref.first]
            case "cursor":
                return drained(ref.total)
            case _:
                return []

    def variable(self, name: str) -> Json:
        """Return the value of a durable variable."""
        position, key = self._state.variables[name]
        stored = self._values.rows[position]
        if key is None:
            return stored.get(name)
        return context_updates(stored).get(key)

    def _build(self) -> dict[str, Json]:
        state, values = self._state, self._values
        workload = values.rows[state.workload]
        flat: dict[str, Json] = {**workload, "workload": workload}
        steps: dict[str, Json] = {}
        for name, step in state.steps.items():
            ref = step.result
            if ref is None:
                continue
            if ref.kind == "row":
                data = values.data(ref.last)
                steps[name] = values.rows[ref.last]
            else:
                data = steps[name] = self.output_of(name)
            if data is not None:
                flat[name] = data
        flat["steps"] = steps
        self.walked.hold_stored = values.stored.are_seen
        for name in state.variables:
            flat[name] = self.variable(name)
        flat["execution_id"] = str(state.execution_id)
        flat["catalog_id"] = str(state.catalog_id)
        flat["path"] = state.path
        return flat
