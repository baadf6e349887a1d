"""Brings the troubles of a plan about."""

from collections.abc import Callable

from tests.simulation.plan import Trouble
from tests.simulation.world import World

OPERATOR_SECONDS = 15.0


def _restarted(world: World) -> None:
    broker = world.broker
    if broker.is_up and any(stream.has_failed for stream in broker.streams.values()):
        world.universe.note("the operator restarts the broker")
        broker.kill(keeps=True)
        world.universe.after(0.5, broker.start)


def bring(world: World, trouble: Trouble) -> None:
    """Let a trouble begin now, and end when it should."""
    world.universe.note(f"trouble: {trouble.kind} {trouble.where} {trouble.seconds:.3f} s")
    act = _ACTS.get(f"{trouble.kind} {trouble.where}") or _ACTS[trouble.kind]
    act(world, trouble)


def _slow_database(world: World, trouble: Trouble) -> None:
    world.database.latency = (0.001, trouble.amount)
    world.universe.after(
        trouble.seconds, lambda: setattr(world.database, "latency", world.database.usual_latency)
    )


def _lose(world: World, trouble: Trouble) -> None:
    world.broker.loss = trouble.amount
    world.universe.after(trouble.seconds, lambda: setattr(world.broker, "loss", 0.0))


def _double(world: World, trouble: Trouble) -> None:
    world.broker.doubling = trouble.amount
    world.universe.after(trouble.seconds, lambda: setattr(world.broker, "doubling", 0.0))


def _kill(world: World, trouble: Trouble) -> None:
    process = world.alive.get(trouble.where)
    if process is not None and process.is_alive:
        world.kill(trouble.where, back_after=trouble.seconds)


def _freeze(world: World, trouble: Trouble) -> None:
    process = world.alive.get(trouble.where)
    if process is not None:
        until = world.universe.now + trouble.seconds
        process.frozen_until = max(process.frozen_until, until)


def _set_clock(world: World, trouble: Trouble) -> None:
    world.offsets[trouble.where] = trouble.amount
    process = world.alive.get(trouble.where)
    if process is not None:
        process.wall_offset = trouble.amount


def _hole(world: World, trouble: Trouble) -> None:
    world.network.holes[trouble.where] = world.universe.now + trouble.seconds


def _hole_to_database(world: World, trouble: Trouble) -> None:
    world.database.holes[trouble.where] = world.universe.now + trouble.seconds


def _restart_broker(world: World, trouble: Trouble) -> None:
    if world.broker.is_up:
        world.broker.kill(keeps=True, loses_messages=trouble.amount > 1.0)
        world.universe.after(trouble.seconds, world.broker.start)


def _wipe_broker(world: World, trouble: Trouble) -> None:
    if world.broker.is_up:
        world.broker.kill(keeps=False)
        world.universe.after(trouble.seconds, world.broker.start)


def _fill_broker(world: World, trouble: Trouble) -> None:
    world.broker.is_full = True
    world.universe.after(trouble.seconds, lambda: setattr(world.broker, "is_full", False))
    # Its streams have failed for good: readiness says so, and the operator restarts it.
    world.universe.after(trouble.seconds + OPERATOR_SECONDS, lambda: _restarted(world))


def _restart_database(world: World, trouble: Trouble) -> None:
    database = world.database
    database.kill()
    database.is_up = False
    world.universe.after(trouble.seconds, lambda: setattr(database, "is_up", True))


def _fill_database(world: World, trouble: Trouble) -> None:
    world.database.is_full = True
    world.universe.after(trouble.seconds, lambda: setattr(world.database, "is_full", False))


_ACTS: dict[str, Callable[[World, Trouble], None]] = {
    "kill": _kill,
    "freeze": _freeze,
    "clock": _set_clock,
    "hole": _hole,
    "cut off from the database": _hole_to_database,
    "cut": lambda world, one: world.network.cut(one.where),
    "restart broker": _restart_broker,
    "wipe broker": _wipe_broker,
    "full broker": _fill_broker,
    "restart database": _restart_database,
    "full database": _fill_database,
    "slow database": _slow_database,
    "lose": _lose,
    "double": _double,
}
"""By kind and place, or by kind alone."""


def foretell(world: World, trouble: Trouble, at: float) -> None:
    """Let a trouble come at a moment; what a broker has written by then is noted before."""
    if trouble.kind == "restart" and trouble.where == "broker":
        unwritten = min(trouble.amount % 1.0, trouble.at)
        world.universe.at(max(world.universe.now, at - unwritten), world.broker.remember)
    world.universe.at(at, lambda: bring(world, trouble))
