"""Reasons for which nothing new begins: pauses, and joins that wait for other branches."""

from collections.abc import Iterable, Iterator

from noetl_contract.http.executions.why import OpenCommand, OpenJoin, OpenTimer, OpenWork, Reason
from noetl_contract.http.workers.pauses import Pause

PAUSE_TIMER = "pause"
_MOST_NAMED = 5


def of_own_pause(timers: Iterable[OpenTimer]) -> Iterator[Reason]:
    """Yield the pause of the execution itself, if it is paused."""
    for timer in timers:
        if timer.kind == PAUSE_TIMER:
            said = timer.payload if isinstance(timer.payload, dict) else {}
            actor, reason = said.get("actor"), said.get("reason")
            who = actor if isinstance(actor, str) else None
            yield Reason(
                code="paused",
                text=f"the execution is paused{_by(who, reason)}; it issues no new command",
                since=timer.created_at,
                actor=who,
            )


def pause_of(command: OpenCommand, path: str, pauses: Iterable[Pause]) -> Pause | None:
    """Return the pause that withholds a command; None for one that is not pending."""
    if command.status != "PENDING":
        return None
    return next((one for one in pauses if one.withholds(path=path, pool=command.pool)), None)


def of_pauses(work: OpenWork, pauses: Iterable[Pause]) -> Iterator[Reason]:
    """Yield each pause of a path or pool that withholds commands, with their steps."""
    held: dict[tuple[str, str], tuple[Pause, list[OpenCommand]]] = {}
    known = list(pauses)
    for command in work.commands:
        pause = pause_of(command, work.path, known)
        if pause is not None:
            held.setdefault((pause.kind, pause.name), (pause, []))[1].append(command)
    for pause, commands in held.values():
        steps = list(dict.fromkeys(command.step for command in commands))
        is_pool = pause.kind == "pool"
        yield Reason(
            code="paused",
            text=f"{_steps(steps)} not handed out: {pause.kind} '{pause.name}' is paused"
            f"{_by(pause.actor, pause.reason)}",
            since=pause.since,
            step=steps[0],
            pool=pause.name if is_pool else None,
            path=None if is_pool else pause.name,
            actor=pause.actor,
        )


def of_joins(joins: Iterable[OpenJoin], *, started_at: str) -> Iterator[Reason]:
    """Yield the joins that wait for steps that are open."""
    for join in joins:
        if not join.awaited:
            continue
        named = ", ".join(f"'{step}'" for step in join.awaited[:_MOST_NAMED])
        more = len(join.awaited) - _MOST_NAMED
        arrived = ", ".join(f"'{step}'" for step in join.arrived[:_MOST_NAMED])
        yield Reason(
            code="join",
            text=f"step '{join.step}' joins branches: it has been reached from {arrived}, and "
            f"waits for {named}{f' and {more} more' if more > 0 else ''}",
            since=join.since or started_at,
            step=join.step,
            awaited=join.awaited,
        )


def _steps(names: list[str]) -> str:
    named = ", ".join(f"'{name}'" for name in names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"step {named} is" if len(names) == 1 else f"steps {named}{more} are"


def _by(actor: str | None, reason: object) -> str:
    who = f" by {actor}" if actor else ""
    return f"{who} ({reason})" if isinstance(reason, str) and reason else who
