"""Begin a restarted execution: which steps run again, and whether the playbook still fits."""

from noetl_contract.events import ExecutionStatus
from noetl_contract.ingress import ExecuteMessage, Restart
from noetl_contract.json import Json

from noetl_engine.decide.draft import Draft
from noetl_engine.decide.start import begin, started_answer
from noetl_engine.errors import StartRefused
from noetl_engine.playbook.model import LoopMode, Playbook
from noetl_engine.restart.origin import OriginView
from noetl_engine.state.model import Phase, State, TakeOver

_RAN = frozenset({Phase.COMPLETED, Phase.FAILED})
_MOST_NAMES = 10


def begin_restart(draft: Draft, message: ExecuteMessage, view: OriginView | None) -> None:
    """Begin an execution that goes on from its origin; the same restart again has no effect.

    Its first row names the origin and what is changed; what the origin has done is taken over by
    the decisions that follow.

    Raises:
        StartRefused: 404, there is no such origin; 409, there is nothing to go on from; 422, the
            request or the playbook doesn't fit what the origin has done.
    """
    restart = message.restart
    if restart is None or view is None or draft.state.start_event_id:
        started_answer(draft)
        return
    origin = view.state
    if origin is None or view.started is None:
        raise StartRefused(404, f"Execution not found: {restart.execution_id}")
    if not origin.ended:
        raise StartRefused(409, f"Execution {origin.execution_id} still runs: cancel it first")
    take_over = _plan(draft.playbook, restart, origin)
    end = view.ended
    if end is not None and isinstance(end.meta, dict):
        could_not_decide = end.meta.get("reason") == "evaluate_error"
        take_over.cause = (end.parent_event_id or 0) if could_not_decide else 0
    _check_graph(draft.playbook, message.version, origin)
    context = view.started.context if isinstance(view.started.context, dict) else {}
    workload = context.get("workload") or {}
    if message.trace is None:
        message = message.but(trace=origin.trace)
    begin(
        draft,
        message,
        workload,
        meta={"restart": _restart_meta(message, restart, origin, take_over)},
        take_over=take_over,
    )
    draft.decision.continue_later = True
    started_answer(draft)


def _restart_meta(
    message: ExecuteMessage, restart: Restart, origin: State, take_over: TakeOver
) -> Json:
    """Return the restart for the first row: the origin, its position and the changes."""
    described: dict[str, Json] = {
        "execution_id": str(origin.execution_id),
        "position": origin.position,
        "status": origin.status,
        "from_steps": list(take_over.again),
    }
    if restart.iterations is not None:
        described["iterations"] = list(restart.iterations)
    if restart.input:
        described["input"] = sorted(restart.input)
    if message.version != origin.version:
        described["version"] = {"of_origin": origin.version, "now": message.version}
    return described


def _plan(playbook: Playbook, restart: Restart, origin: State) -> TakeOver:
    """Return the steps that run again: the step asked for, and failed ones that nothing handled."""
    again = {name: origin.step(name).runs for name in origin.failed if name in playbook.steps}
    take_over = TakeOver(
        origin.execution_id, origin.position, again, [], {}, dict(restart.input or {})
    )
    take_over.signals = [kept.position for kept in origin.signals]
    name = restart.from_step
    if name is None:
        if not again and origin.status is ExecutionStatus.COMPLETED:
            raise StartRefused(
                409,
                f"Execution {origin.execution_id} has no failed step: name the one to run again "
                "with `from_step`",
            )
        if restart.iterations is not None:
            raise StartRefused(422, "`iteration` needs `from_step`, the loop that is meant")
        return take_over
    if name not in playbook.steps:
        raise StartRefused(422, f"The playbook has no step '{name}' to restart from")
    ran = origin.steps.get(name)
    if ran is None or not ran.runs:
        raise StartRefused(
            409, f"Step '{name}' has not run in execution {origin.execution_id}: it is still ahead"
        )
    again[name] = ran.runs
    if restart.iterations is None:
        take_over.whole.append(name)
        return take_over
    loop = playbook.steps[name].loop
    if loop is None or loop.mode is LoopMode.CURSOR:
        raise StartRefused(422, f"Step '{name}' has no iterations that could be named")
    take_over.iterations[name] = list(restart.iterations)
    return take_over


def _check_graph(playbook: Playbook, version: int, origin: State) -> None:
    """Refuse a version of the playbook in which something that is done has no place."""
    problems = []
    for name, step in origin.steps.items():
        if step.outcome not in _RAN:
            continue
        now = playbook.steps.get(name)
        if now is None:
            problems.append(f"step '{name}' is gone")
        elif step.result is not None and (step.result.kind == "row") != (now.loop is None):
            was = "a loop" if now.loop is None else "no loop"
            problems.append(f"step '{name}' was {was}")
    if problems:
        more = len(problems) - _MOST_NAMES
        listed = "; ".join(problems[:_MOST_NAMES]) + (f"; and {more} more" if more > 0 else "")
        raise StartRefused(
            422,
            f"Version {version} of the playbook doesn't fit what execution {origin.execution_id} "
            f"has done: {listed}",
        )
