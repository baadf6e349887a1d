"""Steps of a worker: ``noetl_worker.transports.fast``, with ``.runs`` and ``.hearing``."""

from collections.abc import Iterator

from worlds import (
    Answer,
    Bounds,
    Hint,
    Input,
    Note,
    Rules,
    Run,
    RunId,
    Worker,
    World,
    copies,
    put,
    with_worker,
)

type Moves = Iterator[tuple[str, World]]


def worker_moves(world: World, place: int, *, bounds: Bounds, rules: Rules) -> Moves:
    """Yield what a worker may do next."""
    worker = world.workers[place]
    if worker.is_down:
        return
    yield from _deliveries(world, place, worker, bounds=bounds, rules=rules)
    for message in world.net:
        rest = world._replace(net=world.net - {message})
        if isinstance(message, Hint) and message.worker == place:
            yield f"worker {place} hears of the end", _ended(rest, place)
        elif isinstance(message, Answer) and message.run[:2] == (place, worker.process):
            yield from _heard(rest, place, message, bounds=bounds, rules=rules)
    for number, run in enumerate(worker.runs):
        if run.phase == "claim":
            yield from _asked(world, place, number, run)
        elif run.phase == "go":
            yield _next_begun(world, place, number, rules=rules)
        elif run.phase == "tool":
            yield from _at_work(world, place, number, bounds=bounds)
        else:
            yield from _reported(world, place, number, rules=rules)


def _run_id(world: World, place: int, run: Run) -> RunId:
    return (place, world.workers[place].process, run.attempt)


def _with_run(world: World, place: int, number: int, run: Run) -> World:
    worker = world.workers[place]
    return with_worker(world, place, worker._replace(runs=put(worker.runs, number, run)))


def _without_run(world: World, place: int, run: Run) -> World:
    worker = world.workers[place]
    runs = tuple(one for one in worker.runs if one is not run)
    return with_worker(world, place, worker._replace(runs=runs))


def _has_slot(worker: Worker, bounds: Bounds) -> bool:
    """An outcome that waits for its answer holds none (``_report``)."""
    return sum(run.phase != "out" for run in worker.runs) < bounds.slots


def _knows(worker: Worker, command: int, but: Run | None = None) -> bool:
    """``KnownCommands``: held here, or run here a while ago."""
    return command in worker.finished or any(
        run.command == command and run is not but for run in worker.runs
    )


def _deliveries(world: World, place: int, worker: Worker, *, bounds: Bounds, rules: Rules) -> Moves:
    """``FastTransport.handle`` and ``_take``: begin, ask first, or put aside.

    Workers are alike: the first to take something is the first.
    """
    if not _has_slot(worker, bounds) or not (place == 0 or world.workers[place - 1].was_used):
        return
    for note in world.notes:
        rest = world._replace(notes=world.notes - {note})
        used = worker._replace(was_used=True)
        if _knows(worker, note.command):
            yield f"worker {place} knows c{note.command}", with_worker(rest, place, used)
            continue
        is_sure = (
            note.is_inline
            and (note.deliveries == 1 or not rules.redelivered_is_claimed)
            and (place not in note.older_than or not rules.old_is_claimed)
        )
        run = Run(note.command, 0, "tool" if is_sure else "claim", is_fresh=is_sure, note=note)
        found = with_worker(rest, place, used._replace(runs=(*worker.runs, run)))
        if is_sure:
            yield (
                f"worker {place} begins c{note.command} without a claim",
                _begun(found, place, run, rules=rules),
            )
        else:
            yield f"worker {place} gets c{note.command}, in doubt", found


def _begun(world: World, place: int, run: Run, *, rules: Rules) -> World:
    """Begin the tool of a run that is in the worker's list (``Runs.until_over``)."""
    worker = world.workers[place]
    command = run.command
    if worker.knows_end and rules.ends_are_kept:
        return _without_run(world, place, run)
    begun = world.begun[command] + 1
    is_excused = worker.is_silent or run.is_overtaken
    excused = world.excused[command] + is_excused
    world = world._replace(
        begun=put(world.begun, command, begun), excused=put(world.excused, command, excused)
    )
    if world.log.commands[command].done and not is_excused:
        return world._replace(broken=f"the tool of c{command} begins after its outcome counted")
    if begun > 1 + excused:
        return world._replace(broken=f"the tool of c{command} runs twice, its worker not lost")
    is_on_its_way = Hint(place) in world.net
    if world.cancel == "answered" and not is_on_its_way:
        return world._replace(broken=f"the tool of c{command} begins after the cancel was answered")
    return world


def _ended(world: World, place: int) -> World:
    """``Runs.on_hint``: stop what runs, and begin nothing of it any more."""
    worker = world.workers[place]
    runs = tuple(run for run in worker.runs if run.phase != "tool")
    return with_worker(world, place, worker._replace(knows_end=True, runs=runs))


def _asked(world: World, place: int, number: int, run: Run) -> Moves:
    """``Claims.ask``: again, when the one before is lost."""
    if not copies(world, "claim", run.command, place):
        after = run.phase != "claim"
        claim = Input("claim", run.command, _run_id(world, place, run), after_start=after)
        anew = _with_run(
            world, place, number, run._replace(is_overtaken=world.workers[place].is_silent)
        )
        found = anew._replace(net=world.net | {claim})
        yield f"worker {place} asks for c{run.command}", found


def _next_begun(world: World, place: int, number: int, *, rules: Rules) -> tuple[str, World]:
    """``_may_begin`` and ``_still_ours``: begin what came with an answer, or ask first."""
    worker = world.workers[place]
    run = worker.runs[number]
    name = f"worker {place} begins c{run.command}, which came with the answer"
    if _knows(worker, run.command, but=run):
        return f"{name}: known", _without_run(world, place, run)
    if run.in_doubt and rules.break_is_claimed:
        asking = run._replace(phase="claim", is_fresh=False, in_doubt=False)
        return f"{name}: in doubt", _with_run(world, place, number, asking)
    run = run._replace(phase="tool", in_doubt=False)
    return name, _begun(_with_run(world, place, number, run), place, run, rules=rules)


def _at_work(world: World, place: int, number: int, *, bounds: Bounds) -> Moves:
    """Report the start of a tool that takes a while (``DelayedStart``), and end it."""
    worker = world.workers[place]
    run = worker.runs[number]
    start = Input("start", run.command, _run_id(world, place, run), is_stored=True)
    if not run.told:
        if run.command in world.tokens:
            asking = _with_run(world, place, number, run._replace(told="asking"))
            yield f"worker {place} finds that c{run.command} was started before", asking
        else:
            told = _with_run(world, place, number, run._replace(told="told", note=None))
            tokens = world.tokens | {run.command}
            stored = told._replace(ingress=world.ingress | {start}, tokens=tokens)
            yield f"worker {place} tells of the start of c{run.command}", stored
    elif run.told == "asking":
        yield from _asked(world, place, number, run)
    elif run.told == "told" and not copies(world, "start", run.command, place):
        again = world._replace(ingress=world.ingress | {start})
        yield f"worker {place} tells of the start of c{run.command} again", again
    finished = worker._replace(finished=worker.finished | {run.command})
    ended = with_worker(world, place, finished)
    out = Input("outcome", run.command, _run_id(world, place, run))
    asked = run._replace(phase="out", told="", out="asked", wants=True)
    yield (
        f"worker {place} ends c{run.command} and asks the owner",
        _with_run(ended, place, number, asked)._replace(
            net=world.net | {out._replace(wants_next=True)}
        ),
    )
    if bounds.spills_at_once:
        spilled = _spilled(ended, place, number, out, run=run._replace(phase="out", told=""))
        yield f"worker {place} ends c{run.command} and spills", spilled


def _spilled(world: World, place: int, number: int, out: Input, *, run: Run) -> World:
    """``Sender.spill``, or ``Messages.look``: into the stream."""
    run = run._replace(out="spilled", wants=False)
    found = _with_run(world, place, number, run)
    return found._replace(ingress=world.ingress | {out._replace(is_stored=True)})


def _again(world: World, place: int, number: int, run: Run) -> World:
    out = Input("outcome", run.command, _run_id(world, place, run), is_again=True)
    return _spilled(world, place, number, out, run=run)


def _reported(world: World, place: int, number: int, *, rules: Rules) -> Moves:
    """The limit of the request, the spill, repetitions (``BusChannel._send``, ``Messages``)."""
    run = world.workers[place].runs[number]
    if run.out == "asked" and rules.limit_ends_wish:
        # In one turn of the event loop: `on_late`, then the spill.
        name = f"worker {place} waits no more, and spills the outcome of c{run.command}"
        yield name, _again(world, place, number, run)
    elif run.out == "asked":
        late = run._replace(out="late", wants=run.wants)
        yield (
            f"the limit of worker {place}'s request for c{run.command} is over",
            _with_run(world, place, number, late),
        )
    elif run.out == "late":
        name = f"worker {place} spills the outcome of c{run.command}"
        yield name, _again(world, place, number, run)
    elif run.out == "taken":
        found = _again(world, place, number, run)
        gone = _without_run(found, place, found.workers[place].runs[number])
        yield f"worker {place} spills the outcome of c{run.command} all the same", gone
    elif not copies(world, "outcome", run.command, place):
        name = f"worker {place} sends the outcome of c{run.command} again"
        yield name, _again(world, place, number, run)


def _heard(world: World, place: int, answer: Answer, *, bounds: Bounds, rules: Rules) -> Moves:
    """Take an answer; ``world`` has it no more."""
    name = f"worker {place} hears: {answer.kind} of c{answer.command} {answer.word}"
    worker = world.workers[place]
    for number, run in enumerate(worker.runs):
        if run.command != answer.command:
            continue
        if answer.kind == "outcome" and run.phase == "out" and run.attempt == answer.run[2]:
            yield from _outcome_heard(
                world, place, number, answer, name, bounds=bounds, rules=rules
            )
            return
        if answer.kind == "start" and run.phase == "tool" and run.attempt == answer.run[2]:
            if answer.word == "lost":
                yield name, _without_run(world, place, run)
            else:
                told = "answered" if run.told == "told" else run.told
                yield name, _with_run(world, place, number, run._replace(told=told))
            return
        is_asking = run.phase == "claim" or (run.phase == "tool" and run.told == "asking")
        if answer.kind == "claim" and is_asking:
            yield name, _claim_heard(world, place, number, answer, rules=rules)
            return
    yield f"{name}, which it waits for no more", world


def _claim_heard(world: World, place: int, number: int, answer: Answer, *, rules: Rules) -> World:
    """``_claim`` and ``_claim_meanwhile``."""
    run = world.workers[place].runs[number]
    if answer.word == "retry":
        return world
    if answer.word == "refused":
        return _without_run(world, place, run)
    granted = run._replace(
        attempt=answer.run[2], phase="tool", is_fresh=False, note=None, told="told"
    )
    start = Input("start", run.command, answer.run, is_stored=True)
    world = _with_run(world, place, number, granted)._replace(ingress=world.ingress | {start})
    if run.phase == "tool" and run.attempt == answer.run[2]:
        return world  # its tool is at work
    return _begun(world, place, granted, rules=rules)


def _outcome_heard(
    world: World,
    place: int,
    number: int,
    answer: Answer,
    name: str,
    *,
    bounds: Bounds,
    rules: Rules,
) -> Moves:
    """``_on_outcome_answer``, ``_takes_next`` and ``_keep_next``."""
    worker = world.workers[place]
    run = worker.runs[number]
    following = answer.following
    if run.out == "taken":
        yield f"{name}, which it has heard", world
        return
    if following is None or (run.wants and _knows(worker, following)):
        if answer.word == "late":
            finished = worker.finished - {run.command}
            world = with_worker(world, place, worker._replace(finished=finished))
        yield name, _without_run(world, place, run)
        return
    name = f"{name}, with c{following}"
    if not run.wants:
        yield f"{name}, too late", _again(world, place, number, run)
        return
    has_slot = _has_slot(worker, bounds)
    if has_slot:
        in_doubt = run.in_doubt and rules.break_counts_from_request
        begun = Run(following, 0, "go", in_doubt=in_doubt)
        if run.out == "late":
            kept = _with_run(world, place, number, run._replace(out="taken", wants=False))
        else:
            kept = _without_run(world, place, run)
        worker = kept.workers[place]
        runs = (*worker.runs, begun)
        yield f"{name}: takes it", with_worker(kept, place, worker._replace(runs=runs))
    if not has_slot or bounds.gives_back:
        yield f"{name}: gives it back", _again(world, place, number, run)


def cut(world: World, place: int) -> World:
    """Return a world in which a worker's connection was lost and made again."""
    worker = world.workers[place]
    runs = tuple(
        run._replace(in_doubt=True) if run.phase == "go" or run.out == "asked" else run
        for run in worker.runs
    )
    return _unheard(with_worker(world, place, worker._replace(runs=runs)), place)


def _unheard(world: World, place: int) -> World:
    """Lose what is on its way to a worker; what the stream has is older than its connection."""
    net = frozenset(
        message
        for message in world.net
        if not (isinstance(message, Hint) and message.worker == place)
        and not (isinstance(message, Answer) and message.run[0] == place)
    )
    notes = frozenset(note._replace(older_than=note.older_than | {place}) for note in world.notes)
    return world._replace(net=net, notes=notes)


def crashed(world: World, place: int, *, is_lost: bool = False) -> World:
    """Return a world in which a worker was killed, and started under its name if it isn't lost."""
    worker = world.workers[place]
    excused = world.excused
    for run in worker.runs:
        if run.phase in {"tool", "out"}:
            excused = put(excused, run.command, excused[run.command] + 1)
    world = world._replace(excused=excused, notes=world.notes | set(_given_back(worker)))
    anew = Worker(worker.process + 1, is_down=is_lost, was_used=worker.was_used)
    return _unheard(with_worker(world, place, anew), place)


def _given_back(worker: Worker) -> Iterator[Note]:
    for run in worker.runs:
        if run.note is not None:
            yield run.note._replace(deliveries=2)


def silenced(world: World, place: int) -> World:
    """Return a world in which nobody has heard a worker for a lease, and it goes on.

    What was delivered to it comes to others.
    """
    worker = world.workers[place]
    excused = world.excused
    for run in worker.runs:
        if run.phase in {"tool", "out"}:
            excused = put(excused, run.command, excused[run.command] + 1)
    runs = tuple(one._replace(is_overtaken=one.phase in {"claim", "go"}) for one in worker.runs)
    world = world._replace(excused=excused, notes=world.notes | set(_given_back(worker)))
    return with_worker(world, place, worker._replace(runs=runs, is_silent=True))


def broker_crashed(world: World) -> World:
    """Return a world after the broker forgot its last moments, and every connection broke.

    What it gave out comes again as if for the first time, also what was acknowledged. That a run
    is needed again is no news where nobody was told of the first.
    """
    excused = world.excused
    for worker in world.workers:
        for run in worker.runs:
            if world.log.commands[run.command].holder is None and run.phase in {"tool", "out"}:
                excused = put(excused, run.command, excused[run.command] + 1)
    there = {note.command for note in world.notes}
    back = {
        Note(command, is_inline=row.is_inline)
        for command, row in enumerate(world.rows)
        if row.outbox == "published" and command not in there
    }
    world = world._replace(net=frozenset(), notes=world.notes | back, excused=excused)
    for place in range(len(world.workers)):
        world = cut(world, place)
    return world
