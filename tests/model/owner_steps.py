"""Steps of an orchestrator, of the relay beside it, and of the sweeps."""

from collections.abc import Iterable, Iterator

from decisions import decide
from worlds import (
    Answer,
    Bounds,
    Hint,
    Input,
    Log,
    Message,
    Note,
    Owner,
    Row,
    Rules,
    Step,
    Turn,
    World,
    copies,
    inputs_of,
    is_gone,
    put,
    with_owner,
    with_row,
    with_worker,
)

type Moves = Iterator[tuple[str, World]]

_BEGUN = {"tool", "out"}


def owner_moves(world: World, place: int, *, bounds: Bounds, rules: Rules) -> Moves:
    """Yield what an owner may do next."""
    owner = world.owners[place]
    if owner.turn is not None:
        yield _commit(world, place, owner, owner.turn, rules=rules)
    elif owner.todo:
        yield _after_commit(world, place, owner)
    else:
        for inputs in _portions(world):
            yield _decided(world, place, inputs, bounds=bounds, rules=rules)


def _portions(world: World) -> Iterator[tuple[Input, ...]]:
    """Yield what a turn may take: by the door, and from the stream (``ingress``).

    One input, or two in either order: with more nothing new happens. A cancel has a turn of its
    own (W27).
    """
    given = [one for one in world.net if isinstance(one, Input)]
    given += world.ingress
    for one in given:
        yield (one,)
        if one.kind != "cancel":
            for other in given:
                if other is not one and other.kind == "outcome" == one.kind:
                    yield (one, other)


def _decided(
    world: World, place: int, inputs: tuple[Input, ...], *, bounds: Bounds, rules: Rules
) -> tuple[str, World]:
    """Begin a turn (``turn.turns``, ``turn.attempt``)."""
    turn = decide(world, inputs, world.log, bounds=bounds, rules=rules)
    taken = world._replace(net=world.net - set(inputs), ingress=world.ingress - set(inputs))
    names = ", ".join(_named(given) for given in inputs)
    if bounds.is_split:
        return f"owner {place} decides: {names}", with_owner(taken, place, Owner(turn=turn))
    found = with_owner(taken, place, Owner(todo=turn.todo))
    return f"owner {place} commits: {names}", written(found, turn)


def _commit(
    world: World, place: int, owner: Owner, turn: Turn, *, rules: Rules
) -> tuple[str, World]:
    """``Store.commit_turn``: all or nothing, at the expected position (W1)."""
    if turn.expected.position != world.log.position and rules.checks_position:
        # `TurnAttempt._again`: decided once more; what is found to be stored is a repetition.
        found = given_back(world, (_found_stored(one, world.log) for one in turn.inputs))
        return f"owner {place}'s commit finds another position", with_owner(found, place, Owner())
    world = with_owner(world, place, owner._replace(turn=None, todo=turn.todo))
    return f"owner {place} commits", written(world, turn)


def clashes(world: World) -> Moves:
    """Yield inputs that were decided on an old log, thrown away, and found to be stored."""
    for given in (*world.net, *world.ingress):
        if isinstance(given, Input) and not given.is_again:
            found = _found_stored(given, world.log)
            if found.is_again:
                rest = world._replace(net=world.net - {given}, ingress=world.ingress - {given})
                yield f"a commit finds {_named(given)} stored", given_back(rest, (found,))


def given_back(world: World, inputs: Iterable[Input]) -> World:
    """Return a world in which inputs wait again."""
    for given in inputs:
        if given.is_stored:
            world = world._replace(ingress=world.ingress | {given})
        else:
            world = world._replace(net=world.net | {given})
    return world


def written(world: World, turn: Turn) -> World:
    """Return a world in which a turn was committed, whatever the log says by now."""
    log, expected, new = world.log, turn.expected, turn.log
    commands = log.commands
    for number, (old, entry) in enumerate(zip(expected.commands, new.commands, strict=True)):
        if old != entry:
            now = commands[number]
            added = entry._replace(done=now.done + entry.done - old.done)
            commands = put(commands, number, added)
    status = new.status if new.status != expected.status else log.status
    rows = log.rows + new.rows - expected.rows
    world = world._replace(log=Log(rows, max(log.position, new.position), status, commands))
    for command, row in turn.rows:
        world = with_row(world, command, row)
    return world


def _found_stored(given: Input, log: Log) -> Input:
    """Return an input whose events the log has by now, as a repetition (``stored_events``)."""
    entry = log.commands[given.command]
    is_stored = given.kind == "outcome" and (entry.by == given.run or given.run in entry.late)
    return given._replace(is_again=True) if is_stored else given


def _after_commit(world: World, place: int, owner: Owner) -> tuple[str, World]:
    """``TurnAttempt._after_commit``: hints, what is published, answers, what is released."""
    step, *rest = owner.todo
    world = with_owner(world, place, owner._replace(todo=tuple(rest)))
    if step.name == "hints":
        hints = {Hint(worker) for worker in range(len(world.workers))}
        return f"owner {place} tells the workers of the end", world._replace(net=world.net | hints)
    if step.name == "answers":
        return f"owner {place} answers", _answered(world, step)
    if step.name == "publish":
        for command in step.commands:
            world = _published(world, command)
        return f"owner {place} publishes", world
    return f"owner {place} releases what went with the answer", _released(world, place, step)


def _answered(world: World, step: Step) -> World:
    answers: set[Answer] = set()
    for given, answer in step.answers:
        if answer is None:
            world = world._replace(cancel="answered")
        elif world.workers[given.run[0]].process == given.run[1]:
            answers.add(answer)
    return world._replace(net=world.net | answers)


def _published(world: World, command: int) -> World:
    """Publish a row that is pending: the stream keeps one message of each id (O1)."""
    row = world.rows[command]
    if row.outbox != "pending":
        return world
    note = Note(command, is_inline=row.is_inline)
    world = with_row(world, command, row._replace(outbox="published"))
    return world._replace(notes=world.notes | {note})


def _released(world: World, place: int, step: Step) -> World:
    """``find_handed`` and ``notify_again``: what went with an answer is everybody's (W25)."""
    found = [
        command
        for command, row in enumerate(world.rows)
        if row.handed_for in step.commands and _is_unclaimed(world, command)
    ]
    for command in found:
        world = with_row(world, command, Row(outbox="pending"))
    if found:
        owner = world.owners[place]
        publish = Step("publish", commands=tuple(found))
        world = with_owner(world, place, owner._replace(todo=(publish, *owner.todo)))
    return world


def _is_unclaimed(world: World, command: int) -> bool:
    entry = world.log.commands[command]
    is_open = entry.is_issued and entry.by is None and world.log.status == "running"
    return is_open and entry.holder is None


def sweeps(world: World, *, bounds: Bounds, rules: Rules) -> Moves:
    """Yield what is found by a look at the tables: by the relay and the sweeps of leases.

    Those that follow a time come when nothing is on its way that takes less time: what is faster
    than that is a fault, silence.
    """
    for command, row in enumerate(world.rows):
        if row.outbox == "pending" and rules.relays:
            plain = with_row(world, command, row._replace(is_inline=False))
            yield f"the relay publishes c{command}", _published(plain, command)
        if world.log.status != "running":
            continue
        entry = world.log.commands[command]
        if row.handed_for is not None and _is_unclaimed(world, command):
            yield from _handed(world, command, row, bounds=bounds, rules=rules)
        elif _is_unclaimed(world, command) and row.outbox == "published":
            yield from _unclaimed(world, command)
        elif (
            rules.sweeps_leases
            and entry.holder is not None
            and entry.by is None
            and is_gone(world, entry.holder)
            and row.outbox != "pending"
            and not _is_offered(world, command)
        ):
            yield (
                f"the sweep of leases gives c{command} to others",
                with_row(world, command, Row(outbox="pending")),
            )


def _handed(world: World, command: int, row: Row, *, bounds: Bounds, rules: Rules) -> Moves:
    """Publish a command that went with an answer, if its worker is gone or 30 s silent (W25)."""
    assert row.handed_for is not None
    by = world.log.commands[row.handed_for].by
    freed = with_row(world, command, Row(outbox="pending"))
    is_known = by is not None and is_gone(world, by[:2]) and not world.workers[by[0]].is_down
    if is_known and not _is_at(world, command, _BEGUN):
        yield f"the sweep releases c{command} of a worker that is gone", freed
    if (
        not rules.sweeps_handed
        or _is_at(world, command, {"go", *_BEGUN})
        or _is_under_way(world, command)
        # An outcome without its answer comes again sooner.
        or _is_at(world, row.handed_for, {"out"})
        or any(copies(world, "outcome", row.handed_for, one) for one in range(bounds.workers))
    ):
        return
    # It may not begin without a claim any more (`is_timely`), at a worker that stood still.
    for place, worker in enumerate(freed.workers):
        runs = tuple(one for one in worker.runs if one.command != command or one.phase != "go")
        freed = with_worker(freed, place, worker._replace(runs=runs))
    if world.faults == bounds.faults:
        freed = freed._replace(broken=f"c{command} stands still for 30 s, and nothing has failed")
    yield f"after 30 s the sweep publishes c{command}", freed


def _unclaimed(world: World, command: int) -> Moves:
    """``take_unclaimed``: nobody has claimed it for long, and it does not wait in the stream."""
    if not _is_offered(world, command) and not _is_under_way(world, command):
        yield (
            f"the sweep publishes c{command} again",
            with_row(world, command, Row(outbox="pending")),
        )


def _is_offered(world: World, command: int) -> bool:
    """Return whether a notification waits in the stream, or at a worker that asks for it."""
    if any(note.command == command for note in world.notes):
        return True
    return any(
        run.command == command and run.phase == "claim" and not worker.is_silent
        for worker in world.workers
        for run in worker.runs
    )


def _is_at(world: World, command: int, phases: set[str]) -> bool:
    """Return whether a worker that can be heard has it, in one of these phases."""
    return any(
        run.command == command and run.phase in phases and not worker.is_silent
        for worker in world.workers
        for run in worker.runs
    )


def _is_under_way(world: World, command: int) -> bool:
    """Return whether something is on its way that brings news of it in a moment."""
    if any(isinstance(message, Answer) and message.following == command for message in world.net):
        return True
    for worker in range(len(world.workers)):
        if any(copies(world, kind, command, worker) for kind in ("start", "outcome", "claim")):
            return True
    if any(one.todo for one in world.owners):
        return True
    return _is_at(world, command, _BEGUN)


def crashed(world: World, place: int) -> World:
    """Return a world in which an owner was killed: the stream gives out again what it had."""
    owner = world.owners[place]
    back = (repeated(given) for given in inputs_of(owner) if given.is_stored)
    return given_back(with_owner(world, place, Owner()), back)


def repeated(given: Input) -> Input:
    """Return an input that was delivered before; of others than outcomes it makes no difference."""
    return given._replace(is_again=True) if given.kind == "outcome" else given


def tidy(world: World) -> World:
    """Return a world without what makes no difference any more.

    Answers that nobody waits for, and starts of runs whose outcome counted where nobody waits for
    their answer.
    """
    net = frozenset(message for message in world.net if not _is_idle(world, message))
    ingress = frozenset(message for message in world.ingress if not _is_idle(world, message))
    if len(net) == len(world.net) and len(ingress) == len(world.ingress):
        return world
    return world._replace(net=net, ingress=ingress)


def _is_idle(world: World, message: Message) -> bool:
    if isinstance(message, Hint) or (isinstance(message, Input) and message.kind != "start"):
        return False
    place, process, attempt = message.run
    worker = world.workers[place]
    if isinstance(message, Input):
        if world.log.commands[message.command].by != message.run:
            return False
        phases = {"tool"}
    else:
        phases = {"outcome": {"out"}, "start": {"tool"}}.get(message.kind, {"claim", "tool"})
    return worker.process != process or not any(
        run.command == message.command
        and run.phase in phases
        and (run.attempt == attempt or message.kind == "claim")
        for run in worker.runs
    )


def _named(given: Input) -> str:
    marks = [
        *(["wants the next"] if given.wants_next else []),
        *(["repeated"] if given.is_again else []),
    ]
    if given.kind == "cancel":
        return "the cancel"
    told = f" ({', '.join(marks)})" if marks else ""
    return f"{given.kind} of c{given.command} of worker {given.run[0]}{told}"
