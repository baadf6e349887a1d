"""Changes of the routing that rows don't show; they travel in the rows' notes (R2).

The same code runs when the decision is made and when the log is replayed.
"""

from collections.abc import Callable, Mapping

from noetl_contract.json import Json

from noetl_engine.state.model import Arrival, Phase, Queued, State, StepState


def apply_operations(state: State, operations: list[list[Json]]) -> None:
    """Apply the changes of the routing in a row's note."""
    for name, *arguments in operations:
        operation = _OPERATIONS.get(name)
        if operation is not None:
            operation(state, *arguments)


def drop_arrivals(state: State, step: StepState) -> None:
    if step.arrivals:
        step.arrivals = ()
        state.waiting.pop(step.name, None)


def _op_arrive(
    state: State, join: str, source: str, arc: int, set_position: int | None = None
) -> None:
    step = state.step(join)
    step.arrivals = (*step.arrivals, Arrival(source, arc, set_position))
    state.waiting[join] = None


def _op_reset(state: State, names: list[str]) -> None:
    for name in names:
        step = state.step(name)
        if step.phase is not Phase.RUNNING:
            step.phase = Phase.PENDING


def _op_discard(state: State, joins: list[str]) -> None:
    for name in joins:
        drop_arrivals(state, state.step(name))


def _op_failed(state: State, step: str) -> None:
    if step not in state.failed:
        state.failed.append(step)


def _op_frame(state: State, step: str, rows_at: int, total: int) -> None:
    loop = state.step(step).loop
    if loop is not None and loop.frame is not None:
        loop.begin_frame(loop.frame, rows_at=rows_at, total=total)


def _op_claim(state: State, step: str, frame: int, own: list[int]) -> None:
    """The next frame of a cursor loop is to be claimed, by a later part of the decision."""
    loop = state.step(step).loop
    if loop is not None:
        loop.begin_frame(frame)
        state.step(step).queued = Queued(loop.entered, tuple(own))


def _op_taken(state: State, position: int, taken: int, left_out: list[str]) -> None:
    wanted = state.take_over
    if wanted is not None:
        wanted.position = position
        wanted.taken += taken
        wanted.left_out = list(dict.fromkeys([*wanted.left_out, *left_out]))


def _op_variables(state: State, sources: dict[str, list[Json]]) -> None:
    for name, (position, key) in sources.items():
        state.variables[name] = (position, key)
    state.context_version += 1


_OPERATIONS: Mapping[str, Callable[..., None]] = {
    "arrive": _op_arrive,
    "reset": _op_reset,
    "discard": _op_discard,
    "failed": _op_failed,
    "frame": _op_frame,
    "claim": _op_claim,
    "taken": _op_taken,
    "variables": _op_variables,
}
