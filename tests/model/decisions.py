"""Decisions of an owner: what its inputs lead to, as one commit.

Stands for ``noetl_engine.decide.worker`` and ``.claim``, ``noetl_engine.lease`` and
``noetl_orchestrator.turn.unit_of_work`` and ``.publishing.effects``.
"""

from typing import NamedTuple

from worlds import (
    SHIPPED,
    Answer,
    Bounds,
    Entry,
    Input,
    Log,
    Row,
    Rules,
    Step,
    Turn,
    World,
    copies,
    is_gone,
    put,
)


class _Draft(NamedTuple):
    """The log so far, and what the inputs before have led to."""

    log: Log
    answers: tuple[tuple[Input, Answer | None], ...] = ()
    wishes: tuple[Input, ...] = ()
    repeated: tuple[int, ...] = ()
    issued: tuple[int, ...] = ()
    is_cut_off: bool = False

    def append(self, command: int, entry: Entry, rows: int) -> "_Draft":
        log = self.log
        log = log._replace(
            rows=log.rows + rows,
            position=log.position + rows,
            commands=put(log.commands, command, entry),
        )
        return self._replace(log=log)

    def answered(self, given: Input, word: str) -> "_Draft":
        answer = Answer(given.kind, given.command, given.run, word)
        return self._replace(answers=(*self.answers, (given, answer)))


def decide(
    world: World, inputs: tuple[Input, ...], view: Log, *, bounds: Bounds, rules: Rules
) -> Turn:
    """Return the turn over some inputs, decided on the log as the owner has it."""
    draft = _Draft(view)
    for given in inputs:
        if given.kind == "outcome":
            draft = _outcome(draft, given, bounds=bounds, rules=rules)
        elif given.kind == "start":
            draft = _start(draft, given)
        elif given.kind == "claim":
            draft = _claim(world, draft, given)
        else:
            draft = _cancel(draft, given)
    return _encoded(draft, inputs, view, rules=rules)


def _encoded(draft: _Draft, inputs: tuple[Input, ...], view: Log, *, rules: Rules) -> Turn:
    """Return the commit: a new command goes with an answer, or into the outbox."""
    rows: list[tuple[int, Row]] = []
    wishes = list(draft.wishes)
    answers = dict(draft.answers)
    for command in draft.issued:
        if wishes:
            wish = wishes.pop(0)
            rows.append((command, Row(handed_for=wish.command)))
            answer = answers[wish]
            assert answer is not None
            answers[wish] = answer._replace(following=command)
        else:
            rows.append((command, Row(outbox="pending", is_inline=True)))
    publish = tuple(command for command, row in rows if row.outbox)
    hints = [Step("hints")] if draft.is_cut_off else []
    told = [Step("answers", answers=tuple(answers.items()))]
    out = [Step("publish", commands=publish)] if publish else []
    has_handed = any(row.handed_for is not None for _, row in rows)
    todo = [*told, *out] if has_handed else [*out, *told]
    todo = [*hints, *todo] if rules.hints_first else [*todo, *hints]
    if draft.repeated and rules.releases:
        todo.append(Step("release", commands=tuple(sorted(set(draft.repeated)))))
    return Turn(inputs, view, draft.log, tuple(rows), tuple(todo))


def _outcome(draft: _Draft, given: Input, *, bounds: Bounds, rules: Rules) -> _Draft:
    """``decide_outcome`` and ``_take_late_outcome``."""
    entry = draft.log.commands[given.command]
    process, attempt = given.run[:2], given.run[2]
    may_wish = given.wants_next and not given.is_again
    is_known = rules.knows_repetitions and (entry.by == given.run or given.run in entry.late)
    is_open = entry.is_issued and draft.log.status == "running"
    is_open = is_open and (entry.by is None or not rules.knows_repetitions)
    if not is_known and is_open and _fits(entry, process, attempt, rules=rules):
        rows = 1 + (not entry.is_started) + (entry.holder is None)
        holds = max(entry.holds, 1)
        entry = entry._replace(
            by=given.run, done=entry.done + 1, is_started=True, holder=process, holds=holds
        )
        draft = _routed(draft.append(given.command, entry, rows), bounds)
        is_effective, word = True, "ok"
    elif is_known:
        is_effective, word = False, "ok" if entry.by == given.run else "late"
    else:
        late = entry._replace(late=entry.late | {given.run})
        draft = draft.append(given.command, late, 1)
        is_effective, word = True, "late"
    if given.is_again and (word == "ok" or not rules.late_releases_nothing):
        draft = draft._replace(repeated=(*draft.repeated, given.command))
    if may_wish and word == "ok" and (is_effective or not rules.wish_needs_effect):
        draft = draft._replace(wishes=(*draft.wishes, given))
    return draft.answered(given, word)


def _fits(entry: Entry, process: tuple[int, int], attempt: int, *, rules: Rules) -> bool:
    """``noetl_engine.lease.fits``."""
    if not rules.has_fence:
        return True
    if not entry.holds:
        return attempt == 0
    return entry.holder == process and attempt == entry.holds - 1


def _routed(draft: _Draft, bounds: Bounds) -> _Draft:
    """Issue what may run now, and end the execution when nothing is left (R5)."""
    commands = draft.log.commands
    for number, parents in enumerate(bounds.graph):
        entry = draft.log.commands[number]
        if not entry.is_issued and all(commands[parent].done for parent in parents):
            draft = draft.append(number, entry._replace(is_issued=True), 1)
            draft = draft._replace(issued=(*draft.issued, number))
    log = draft.log
    if all(entry.done for entry in log.commands):
        log = log._replace(rows=log.rows + 1, position=log.position + 1, status="completed")
    return draft._replace(log=log)


def _start(draft: _Draft, given: Input) -> _Draft:
    """``decide_start_of_command``."""
    entry = draft.log.commands[given.command]
    process, attempt = given.run[:2], given.run[2]
    is_open = entry.is_issued and entry.by is None and draft.log.status == "running"
    if is_open and _fits(entry, process, attempt, rules=SHIPPED):
        rows = (entry.holder is None) + (not entry.is_started)
        if rows:
            holds = max(entry.holds, 1)
            entry = entry._replace(holder=process, holds=holds, is_started=True)
            draft = draft.append(given.command, entry, rows)
        return draft.answered(given, "held")
    return draft.answered(given, "held" if entry.by == given.run else "lost")


def _claim(world: World, draft: _Draft, given: Input) -> _Draft:
    """``decide_claim``; the answer names the run that may begin."""
    entry = draft.log.commands[given.command]
    process = given.run[:2]
    if not entry.is_issued or entry.by is not None or draft.log.status != "running":
        return draft.answered(given, "refused")
    if entry.holder is None:
        # The start that took the token may be on its way for so long (`_start_may_come`).
        workers = range(len(world.workers))
        if given.after_start and any(
            copies(world, "start", given.command, worker)
            or copies(world, "outcome", given.command, worker)
            for worker in workers
        ):
            return draft.answered(given, "retry")
        granted = 0
    elif entry.holder == process:
        granted = entry.holds - 1
    elif is_gone(world, entry.holder):
        granted = entry.holds
    else:
        return draft.answered(given, "refused")
    if granted == entry.holds:
        entry = entry._replace(holder=process, holds=granted + 1, is_started=False)
        draft = draft.append(given.command, entry, 1)
    answer = Answer("claim", given.command, (*process, granted), "granted")
    return draft._replace(answers=(*draft.answers, (given, answer)))


def _cancel(draft: _Draft, given: Input) -> _Draft:
    """``decide_cancel``: said again, the hints go out again (``decide.finish``)."""
    log = draft.log
    if log.status == "running":
        log = log._replace(rows=log.rows + 1, position=log.position + 1, status="cancelled")
    is_cut_off = draft.is_cut_off or log.status == "cancelled"
    answers = (*draft.answers, (given, None))
    return draft._replace(log=log, answers=answers, is_cut_off=is_cut_off)
