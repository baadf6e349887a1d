"""The state that the model explores, and the rules and bounds of an exploration.

Everything is immutable, so states are compared and hashed as they are. Ids are small numbers: a
command is its place in the graph, a worker and an owner their place in the list. A process of a
worker is the worker with the number of its restarts.
"""

from collections.abc import Iterator
from typing import NamedTuple

type Process = tuple[int, int]
"""A worker, and how often it was started anew."""
type RunId = tuple[int, int, int]
"""A worker, its process, and the attempt: what the hold of a report names."""


class Rules(NamedTuple):
    """The rules of the protocol; each is one that ships, and False is the model without it.

    Attributes:
        ends_are_kept: a worker begins nothing of an execution that it was told has ended
            (``transports.runs.EndedExecutions``).
        wish_needs_effect: only an outcome that its turn has taken brings a command
            (``turn.unit_of_work.UnitOfWork``).
        limit_ends_wish: with the limit of a request its answer brings no command any more
            (``transports.fast.over_bus``, ``on_late``).
        old_is_claimed: what was stored before the connection was made is claimed first
            (``transports.hearing``).
        redelivered_is_claimed: so is what was delivered before (``transports.fast.transport``).
        break_is_claimed: so is what came with an answer, if the connection was lost since
            (``FastTransport._still_ours``).
        break_counts_from_request: since the outcome was sent, and not since its answer came.
        publishes_at_once: an assumption, and no mechanism: between the commit and the publication
            of a command no worker connects anew. The way is some milliseconds long; it is longer
            where an owner stands still just there.
        hints_first: the hint of an end goes out before any answer (``turn.attempt``).
        checks_position: a commit keeps executions at their expected position only (W1).
        has_fence: a report of another run than the present one decides nothing (L1).
        knows_repetitions: an outcome that is in the log has no second effect (R15, W3).
        releases: an outcome that comes again has what went with its answer published (W25).
        late_releases_nothing: but not the outcome of another run, which is late
            (``UnitOfWork.repeated_outcomes``).
        sweeps_handed: the sweep does so too, once its worker may not begin it any more (W25).
        relays: the sweep of the relay publishes rows that nobody has told of (O2).
        sweeps_leases: the commands of a worker that is gone are handed out again (L4).
    """

    ends_are_kept: bool = True
    wish_needs_effect: bool = True
    limit_ends_wish: bool = True
    old_is_claimed: bool = True
    redelivered_is_claimed: bool = True
    break_is_claimed: bool = True
    break_counts_from_request: bool = True
    publishes_at_once: bool = True
    hints_first: bool = True
    checks_position: bool = True
    has_fence: bool = True
    knows_repetitions: bool = True
    releases: bool = True
    late_releases_nothing: bool = True
    sweeps_handed: bool = True
    relays: bool = True
    sweeps_leases: bool = True


SHIPPED = Rules()
"""The protocol as it is."""


class Faults(NamedTuple):
    """How often each fault may still happen.

    Attributes:
        worker_crash: a worker is killed, and started under its name.
        worker_loss: a worker is killed, and nobody starts it again; never the last one.
        owner_crash: an orchestrator is killed, and started.
        drop: a request or an answer over core NATS is lost.
        cut: a worker's connection breaks and is made anew; what was on its way to it is lost.
        silence: a worker can't be heard for longer than its lease, and goes on.
        redelivery: the stream gives out again what an owner holds for longer than the wait.
        unknown_commit: a commit is made, and its owner does not learn of it.
        broker_crash: the broker is killed: all connections break, and a notification that was
            taken comes again as if for the first time.
    """

    worker_crash: int = 0
    worker_loss: int = 0
    owner_crash: int = 0
    drop: int = 0
    cut: int = 0
    silence: int = 0
    redelivery: int = 0
    unknown_commit: int = 0
    broker_crash: int = 0


class Bounds(NamedTuple):
    """The size of a world.

    Attributes:
        graph: of each command, those that have to end before it is issued.
        workers, owners, slots: how many; each owner believes that it owns the bucket.
        cancels: somebody cancels the execution.
        spills_at_once: an outcome may go into the stream at once, as while the breaker is open.
        gives_back: a worker with a free slot may give back what came with an answer.
        is_split: decision and commit are two steps, and others may commit between them. Else they
            are one, as a commit in between has the decision thrown away and made again.
    """

    graph: tuple[tuple[int, ...], ...]
    workers: int = 2
    owners: int = 2
    slots: int = 1
    faults: Faults = Faults()
    cancels: bool = False
    spills_at_once: bool = False
    gives_back: bool = False
    is_split: bool = False


def chain(length: int) -> tuple[tuple[int, ...], ...]:
    """Return the graph of a sequence of steps."""
    return tuple((number - 1,) if number else () for number in range(length))


class Entry(NamedTuple):
    """State of a command in the log.

    Attributes:
        holds: how many holds it had.
        by: the run whose outcome counted.
        done: how many outcomes counted.
        late: runs whose outcomes were kept without effect.
    """

    is_issued: bool = False
    holder: Process | None = None
    holds: int = 0
    is_started: bool = False
    by: RunId | None = None
    done: int = 0
    late: frozenset[RunId] = frozenset()


class Log(NamedTuple):
    """The log of the execution: how many rows, the highest position, and what they amount to."""

    rows: int
    position: int
    status: str
    commands: tuple[Entry, ...]


class Row(NamedTuple):
    """State of a command's notification in the tables.

    Attributes:
        handed_for: the command with the answer to whose outcome it went to a worker.
        outbox: its row: "", "pending" or "published".
        is_inline: published right after the commit that issued it, with the command inside.
    """

    handed_for: int | None = None
    outbox: str = ""
    is_inline: bool = False


class Input(NamedTuple):
    """A write on its way to an owner, or at one.

    Attributes:
        kind: "outcome", "start", "claim" or "cancel".
        wants_next: ``Noetl-Next``.
        is_again: ``Noetl-Again``, delivered before, or found to be stored: a repetition.
        is_stored: it came by the stream.
        after_start: of a claim of a run that has begun.
    """

    kind: str
    command: int = 0
    run: RunId = (0, 0, 0)
    wants_next: bool = False
    is_again: bool = False
    is_stored: bool = False
    after_start: bool = False


class Answer(NamedTuple):
    """An answer on its way to a worker.

    Attributes:
        kind: of the write.
        word: "ok", "late", "held", "lost", "granted", "refused" or "retry".
        run: that of the write; of a claim that was granted the run that it may begin.
        following: the command that comes with it.
    """

    kind: str
    command: int
    run: RunId
    word: str
    following: int | None = None


class Hint(NamedTuple):
    """The hint to a worker that the execution has ended with open commands."""

    worker: int


type Message = Input | Answer | Hint


class Note(NamedTuple):
    """A notification in the command stream.

    Attributes:
        deliveries: how often it was delivered when it is delivered next: 1, or 2 for more.
        older_than: workers whose present connection was made after it was stored.
    """

    command: int
    is_inline: bool
    deliveries: int = 1
    older_than: frozenset[int] = frozenset()


class Run(NamedTuple):
    """A run at a worker.

    Attributes:
        phase: "claim" while it asks for the command, "go" after it came with an answer, "tool"
            while the tool is at work, "out" while its outcome waits for the answer.
        is_fresh: it needed no claim.
        note: its delivery, until that is acknowledged.
        told: its start: "", "told", "answered", or "asking" where another run had told before.
        out: its outcome: "asked" of the owner, "late" when the limit is over, "spilled" into the
            stream, "taken" when it was answered at the limit and goes out all the same.
        wants: an answer may bring the next command.
        in_doubt: the connection was lost since.
        is_overtaken: its worker was silent since it asked, so others may have it by now.
    """

    command: int
    attempt: int
    phase: str
    is_fresh: bool = True
    note: Note | None = None
    told: str = ""
    out: str = ""
    wants: bool = False
    in_doubt: bool = False
    is_overtaken: bool = False


class Worker(NamedTuple):
    """A worker; ``finished`` are the commands that it remembers to have run."""

    process: int = 0
    runs: tuple[Run, ...] = ()
    finished: frozenset[int] = frozenset()
    knows_end: bool = False
    is_silent: bool = False
    is_down: bool = False
    was_used: bool = False


class Turn(NamedTuple):
    """A decision that is not committed yet.

    Attributes:
        expected: the position that it was made at.
        log: the log after it.
        rows: notifications of the commands that it issues.
        todo: what follows the commit.
    """

    inputs: tuple[Input, ...]
    expected: Log
    log: Log
    rows: tuple[tuple[int, Row], ...]
    todo: tuple["Step", ...]


class Step(NamedTuple):
    """One thing that an owner does after a commit: "hints", "answers", "publish" or "release"."""

    name: str
    commands: tuple[int, ...] = ()
    answers: tuple[tuple[Input, Answer | None], ...] = ()


class Owner(NamedTuple):
    """An orchestrator that believes it owns the execution.

    What waits at it for a turn is among what is on its way: for others it makes no difference.
    """

    turn: Turn | None = None
    todo: tuple[Step, ...] = ()


class World(NamedTuple):
    """Everything.

    Attributes:
        net: what is on its way over core NATS, in any order.
        ingress, notes: the messages of the two streams that nobody holds.
        tokens: commands of which a start without a claim was stored: its message id is taken.
        begun: how often each tool has begun.
        excused: for how many of these another run may be needed: their worker was lost.
        cancel: "", "wanted", "answered".
        broken: the invariant that the last step has broken.
    """

    log: Log
    rows: tuple[Row, ...]
    net: frozenset[Message]
    ingress: frozenset[Input]
    notes: frozenset[Note]
    tokens: frozenset[int]
    owners: tuple[Owner, ...]
    workers: tuple[Worker, ...]
    begun: tuple[int, ...]
    excused: tuple[int, ...]
    cancel: str
    faults: Faults
    broken: str = ""


def first_world(bounds: Bounds) -> World:
    """Return the world after the start of the execution was committed and published."""
    size = len(bounds.graph)
    first = [not parents for parents in bounds.graph]
    entries = tuple(Entry(is_issued=one) for one in first)
    return World(
        log=Log(1, 1, "running", entries),
        rows=tuple(Row(outbox="published" if one else "", is_inline=one) for one in first),
        net=frozenset(),
        ingress=frozenset(),
        notes=frozenset(Note(number, is_inline=True) for number in range(size) if first[number]),
        tokens=frozenset(),
        owners=(Owner(),) * bounds.owners,
        workers=(Worker(),) * bounds.workers,
        begun=(0,) * size,
        excused=(0,) * size,
        cancel="wanted" if bounds.cancels else "",
        faults=bounds.faults,
    )


def put[T](items: tuple[T, ...], place: int, item: T) -> tuple[T, ...]:
    """Return a tuple with another item at a place."""
    return (*items[:place], item, *items[place + 1 :])


def with_owner(world: World, place: int, owner: Owner) -> World:
    """Return a world with another state of an owner."""
    return world._replace(owners=put(world.owners, place, owner))


def with_worker(world: World, place: int, worker: Worker) -> World:
    """Return a world with another state of a worker."""
    return world._replace(workers=put(world.workers, place, worker))


def with_row(world: World, command: int, row: Row) -> World:
    """Return a world with another notification of a command."""
    return world._replace(rows=put(world.rows, command, row))


def inputs_of(owner: Owner) -> Iterator[Input]:
    """Yield the inputs of an owner's turn, until they are answered."""
    if owner.turn is not None:
        yield from owner.turn.inputs
    for step in owner.todo:
        for given, _ in step.answers:
            yield given


def copies(world: World, kind: str, command: int, worker: int) -> bool:
    """Return whether a worker's write of a kind, or an answer to it, is on its way somewhere."""
    for message in world.net:
        if (
            not isinstance(message, Hint)
            and message.kind == kind
            and message.command == command
            and message.run[0] == worker
        ):
            return True
    stored = (one for owner in world.owners for one in inputs_of(owner))
    for given in (*world.ingress, *stored):
        if given.kind == kind and given.command == command and given.run[0] == worker:
            return True
    return False


def is_gone(world: World, process: Process) -> bool:
    """Return whether a process of a worker is dead, or silent for longer than its lease (L4)."""
    worker, number = process
    now = world.workers[worker]
    return now.process != number or now.is_silent
